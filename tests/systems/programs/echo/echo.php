<?php
// PHP: streams with stream_select, and the sockets extension with SCM_RIGHTS. Like echo.c; files go by ADDRESS-files.

[, $mode, $address] = $argv;

function named(string $address): string
{
    return $address[0] === '@' ? "\0" . substr($address, 1) : $address;
}

function serve(string $address): void
{
    $files = socket_create(AF_UNIX, SOCK_STREAM, 0);
    socket_bind($files, "$address-files");
    socket_listen($files);
    $filesStream = socket_export_stream($files);
    $context = stream_context_create(['socket' => ['backlog' => 100]]);
    $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
    $server = stream_socket_server('unix://' . named($address), $number, $text, $flags, $context) ?: exit(1);
    $connections = [];
    while (true) {
        $ready = [$server, $filesStream, ...$connections];
        $none = null;
        stream_select($ready, $none, $none, null);
        foreach ($ready as $stream) {
            if ($stream === $filesStream) {
                contents($files);
            } elseif ($stream === $server) {
                $accepted = stream_socket_accept($server);
                $connections[(int) $accepted] = $accepted;
            } elseif (($data = fread($stream, 65536)) === '' || $data === false) {
                unset($connections[(int) $stream]);
                fclose($stream);
            } else {
                fwrite($stream, strtoupper($data));
            }
        }
    }
}

function contents(Socket $listener): void
{
    $connection = socket_accept($listener);
    $message = ['controllen' => socket_cmsg_space(SOL_SOCKET, SCM_RIGHTS, 1), 'buffer_size' => 10];
    socket_recvmsg($connection, $message) !== false || exit(1);
    $file = $message['control'][0]['data'][0];
    socket_write($connection, strtoupper(fread($file, 1000)));
    socket_close($connection);
}

function ask(string $address, string $words): string
{
    $connection = stream_socket_client('unix://' . named($address)) ?: exit(1);
    stream_set_blocking($connection, false);
    $answer = '';
    $open = true;
    while (true) {
        [$readable, $writable, $none] = [[$connection], $open ? [$connection] : [], null];
        stream_select($readable, $writable, $none, null);
        if ($writable && $words !== '') {
            $words = substr($words, fwrite($connection, $words));
        }
        if ($open && $words === '') {
            stream_socket_shutdown($connection, STREAM_SHUT_WR);
            $open = false;
        }
        if ($readable) {
            $answer .= fread($connection, 65536);
            if (feof($connection)) {
                return $answer;
            }
        }
    }
}

function many(string $address): int
{
    $all = [];
    for ($number = 0; $number < 50; $number++) {
        $all[$number] = stream_socket_client('unix://' . named($address)) ?: exit(1);
        fwrite($all[$number], 'many');
    }
    return count(array_filter($all, fn ($connection) => fread($connection, 100) === 'MANY'));
}

function pass(string $address): string
{
    $connection = socket_create(AF_UNIX, SOCK_STREAM, 0);
    socket_connect($connection, "$address-files");
    $rights = ['level' => SOL_SOCKET, 'type' => SCM_RIGHTS, 'data' => [fopen('passed', 'r')]];
    socket_sendmsg($connection, ['iov' => ['f'], 'control' => [$rights]]) !== false || exit(1);
    return socket_read($connection, 1000);
}

function call(string $address): void
{
    echo 'said: ', ask($address, 'hello from PHP'), "\n";
    echo 'half-closed: ', substr_count(ask($address, str_repeat('x', 300000)), 'X'), "\n";
    echo 'at once: ', many($address), "\n";
    echo 'file: ', pass($address);
    [$one, $other] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
    fwrite($one, 'a pair');
    echo 'pair: ', fread($other, 100), "\n";
    foreach (['no such' => 'absent', 'refused' => 'passed'] as $what => $where) {
        if (!@stream_socket_client("unix://$where", $number, $text)) {
            echo "$what: $number $text\n";
        }
    }
}

$mode($address);
