// .NET: UnixDomainSocketEndPoint, asynchronous, and blocking in threads. Like echo.c, without files.
using System;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;

static class Echo
{
    static UnixDomainSocketEndPoint Named(string address)
    {
        return new UnixDomainSocketEndPoint(address[0] == '@' ? "\0" + address.Substring(1) : address);
    }

    static Socket Stream()
    {
        return new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    }

    static async Task Answer(Socket connection)
    {
        using (var stream = new NetworkStream(connection, true))
        {
            var room = new byte[65536];
            int got;
            while ((got = await stream.ReadAsync(room, 0, room.Length)) > 0)
            {
                var words = Encoding.ASCII.GetBytes(Encoding.ASCII.GetString(room, 0, got).ToUpperInvariant());
                await stream.WriteAsync(words, 0, words.Length);
            }
        }
    }

    static async Task Serve(string address)
    {
        var listener = Stream();
        listener.Bind(Named(address));
        listener.Listen(100);
        while (true)
        {
            var ignored = Answer(await listener.AcceptAsync());
        }
    }

    static async Task<string> Ask(string address, string words)
    {
        var socket = Stream();
        await socket.ConnectAsync(Named(address));
        using (var stream = new NetworkStream(socket, true))
        using (var reader = new StreamReader(stream))
        {
            var answer = reader.ReadToEndAsync();
            var data = Encoding.ASCII.GetBytes(words);
            await stream.WriteAsync(data, 0, data.Length);
            socket.Shutdown(SocketShutdown.Send);
            return await answer;
        }
    }

    static void Failure(string what, string where)
    {
        try
        {
            using (var socket = Stream())
                socket.Connect(Named(where));
        }
        catch (SocketException error)
        {
            Console.WriteLine("{0}: {1}", what, error.SocketErrorCode);
        }
    }

    static void Call(string address)
    {
        Console.WriteLine("said: {0}", Ask(address, "hello from .NET").Result);
        Console.WriteLine("half-closed: {0}", Ask(address, new string('x', 300000)).Result.Count(c => c == 'X'));
        var tasks = Enumerable.Range(0, 50).Select(_ => Ask(address, "many")).ToArray();
        Console.WriteLine("at once: {0}", Task.WhenAll(tasks).Result.Count(answer => answer == "MANY"));
        using (var blocking = Stream())
        {
            blocking.Connect(Named(address));
            blocking.Send(Encoding.ASCII.GetBytes("blocking"));
            var room = new byte[100];
            Console.WriteLine("blocking: {0}", Encoding.ASCII.GetString(room, 0, blocking.Receive(room)));
            Console.WriteLine("ready: {0}", blocking.Poll(50000, SelectMode.SelectRead));
        }
        Failure("no such", "absent");
        Failure("refused", "passed");
    }

    static void Main(string[] arguments)
    {
        if (arguments[0] == "serve")
            Serve(arguments[1]).Wait();
        Call(arguments[1]);
    }
}
