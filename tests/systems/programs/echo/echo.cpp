// Asio: asynchronous connections on one thread, its own epoll reactor. Like echo.c, without files.
#include <algorithm>
#include <asio.hpp>
#include <cctype>
#include <iostream>
#include <memory>
#include <string>

using asio::local::stream_protocol;

static stream_protocol::endpoint named(std::string address) {
    if (address[0] == '@')
        address[0] = '\0';
    return stream_protocol::endpoint(address);
}

struct Session : std::enable_shared_from_this<Session> {
    explicit Session(stream_protocol::socket accepted) : socket(std::move(accepted)) {}
    void read() {
        auto self = shared_from_this();
        socket.async_read_some(asio::buffer(room), [this, self](std::error_code error, std::size_t got) {
            if (error)
                return;
            std::transform(room.begin(), room.begin() + got, room.begin(), [](unsigned char c) { return std::toupper(c); });
            asio::async_write(socket, asio::buffer(room, got), [this, self](std::error_code failed, std::size_t) {
                if (!failed)
                    read();
            });
        });
    }
    stream_protocol::socket socket;
    std::array<char, 65536> room;
};

static void accept(stream_protocol::acceptor &acceptor) {
    acceptor.async_accept([&](std::error_code error, stream_protocol::socket socket) {
        if (!error)
            std::make_shared<Session>(std::move(socket))->read();
        accept(acceptor);
    });
}

static void failure(asio::io_context &io, const char *what, const char *where) {
    std::error_code error;
    stream_protocol::socket(io).connect(named(where), error);
    std::cout << what << ": " << error.message() << "\n";
}

static void call(asio::io_context &io, const stream_protocol::endpoint &server) {
    stream_protocol::socket socket(io);
    socket.connect(server);
    const std::string hello = "hello from C++", many(300000, 'x');
    std::string answer(hello.size(), ' '), all;
    asio::write(socket, asio::buffer(hello));
    asio::read(socket, asio::buffer(answer));
    std::cout << "said: " << answer << "\n";
    asio::async_write(socket, asio::buffer(many), [&](std::error_code, std::size_t) {
        socket.shutdown(stream_protocol::socket::shutdown_send);
    });
    asio::async_read(socket, asio::dynamic_buffer(all), [](std::error_code, std::size_t) {});
    io.run();
    std::cout << "half-closed: " << std::count(all.begin(), all.end(), 'X') << "\n";

    struct Client {
        explicit Client(asio::io_context &io) : socket(io) {}
        stream_protocol::socket socket;
        std::array<char, 4> room;
    };
    int good = 0;
    std::vector<std::unique_ptr<Client>> clients;
    for (int number = 0; number < 50; number++) {
        clients.push_back(std::make_unique<Client>(io));
        auto &client = *clients.back();
        client.socket.async_connect(server, [&](std::error_code error) {
            if (error)
                return;
            asio::async_write(client.socket, asio::buffer("many", 4), [&](std::error_code, std::size_t) {
                asio::async_read(client.socket, asio::buffer(client.room), [&](std::error_code, std::size_t) {
                    good += std::string(client.room.data(), 4) == "MANY";
                });
            });
        });
    }
    io.restart();
    io.run();
    std::cout << "at once: " << good << "\n";

    stream_protocol::socket one(io), other(io);
    asio::local::connect_pair(one, other);
    asio::write(one, asio::buffer("a pair", 6));
    std::string heard(6, ' ');
    asio::read(other, asio::buffer(heard));
    std::cout << "pair: " << heard << "\n";
    asio::local::datagram_protocol::socket to(io), from(io);
    asio::local::connect_pair(to, from);
    to.send(asio::buffer("a datagram", 10));
    std::array<char, 64> room;
    std::cout << "datagram: " << std::string(room.data(), from.receive(asio::buffer(room))) << "\n";
    failure(io, "no such", "absent");
    failure(io, "refused", "passed");
}

int main(int argc, char **argv) {
    asio::io_context io;
    const auto address = named(argv[2]);
    if (argc == 3 && std::string(argv[1]) == "serve") {
        stream_protocol::acceptor acceptor(io, address);
        accept(acceptor);
        io.run();
    } else {
        call(io, address);
    }
}
