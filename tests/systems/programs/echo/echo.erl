%% Erlang: gen_tcp and gen_udp with local addresses, a process for each connection, and the socket module. Like echo.c,
%% without files.
-module(echo).
-export([main/1]).

main([Mode, Name]) ->
    case Mode of
        "serve" -> serve(named(Name));
        "call" -> call(named(Name))
    end,
    halt(0).

named("@" ++ Name) -> {local, [0 | Name]};
named(Name) -> {local, Name}.

%% Without exit_on_close set to false, the end of what a client says drops what the client has not read yet.
serve(Address) ->
    Options = [binary, {active, false}, {backlog, 100}, {exit_on_close, false}],
    {ok, Listener} = gen_tcp:listen(0, [{ifaddr, Address} | Options]),
    accept(Listener).

accept(Listener) ->
    {ok, Connection} = gen_tcp:accept(Listener),
    Answerer = spawn(fun() -> receive go -> answer(Connection) end end),
    ok = gen_tcp:controlling_process(Connection, Answerer),
    Answerer ! go,
    accept(Listener).

answer(Connection) ->
    case gen_tcp:recv(Connection, 0) of
        {ok, Data} ->
            ok = gen_tcp:send(Connection, string:uppercase(Data)),
            answer(Connection);
        {error, closed} ->
            gen_tcp:close(Connection)
    end.

ask(Address, Words) ->
    {ok, Connection} = gen_tcp:connect(Address, 0, [binary, {active, true}, {exit_on_close, false}]),
    ok = gen_tcp:send(Connection, Words),
    ok = gen_tcp:shutdown(Connection, write),
    collect(Connection, <<>>).

collect(Connection, Answer) ->
    receive
        {tcp, Connection, Data} -> collect(Connection, <<Answer/binary, Data/binary>>);
        {tcp_closed, Connection} -> gen_tcp:close(Connection), Answer
    end.

call(Address) ->
    io:format("said: ~s~n", [ask(Address, "hello from Erlang")]),
    io:format("half-closed: ~p~n", [byte_size(ask(Address, binary:copy(<<"x">>, 300000)))]),
    Self = self(),
    [spawn(fun() -> Self ! {answer, ask(Address, "many")} end) || _ <- lists:seq(1, 50)],
    Answers = [receive {answer, Answer} -> Answer end || _ <- lists:seq(1, 50)],
    io:format("at once: ~p~n", [length([good || <<"MANY">> <- Answers])]),
    {ok, Receiver} = gen_udp:open(0, [{ifaddr, {local, "receiver"}}, binary]),
    {ok, Sender} = gen_udp:open(0, [{ifaddr, {local, "sender"}}, binary]),
    ok = gen_udp:send(Sender, {local, "receiver"}, 0, "a datagram"),
    receive {udp, Receiver, From, 0, Datagram} -> io:format("datagram: ~s from ~p~n", [Datagram, From]) end,
    by_socket_module(Address),
    io:format("no such: ~p~n", [gen_tcp:connect({local, "absent"}, 0, [])]),
    io:format("refused: ~p~n", [gen_tcp:connect({local, "passed"}, 0, [])]).

by_socket_module({local, Path}) ->
    {ok, Socket} = socket:open(local, stream),
    ok = socket:connect(Socket, #{family => local, path => list_to_binary(Path)}),
    ok = socket:send(Socket, <<"by the socket module">>),
    {ok, Answer} = socket:recv(Socket, 20, 5000),
    io:format("socket: ~s~n", [Answer]),
    io:format("time-out: ~p~n", [socket:recv(Socket, 1, 50)]),
    ok = socket:close(Socket).
