# Perl: IO::Socket::UNIX, a process for each connection, IO::Select. Like echo.c, without files.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;
use POSIX qw(:sys_wait_h);

my ($mode, $address) = @ARGV;
$address =~ s/^\@/\0/;
$| = 1;

sub serve {
    my $server = IO::Socket::UNIX->new(Local => $address, Listen => 100) or die "listen: $!";
    $SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 };
    while (1) {
        my $connection = $server->accept or next;    # EINTR, by the end of a child
        next if fork;
        while (sysread $connection, my $data, 65536) {
            syswrite $connection, uc $data or last;
        }
        exit;
    }
}

sub reach {
    return IO::Socket::UNIX->new(Peer => shift // $address);
}

sub ask {
    my ($words) = @_;
    my $connection = reach or die "connect: $!";
    my $filler = fork // die "fork: $!";
    unless ($filler) {
        print $connection $words;
        $connection->flush;
        $connection->shutdown(1);
        POSIX::_exit(0);
    }
    my $answer = do { local $/; <$connection> };
    waitpid $filler, 0;
    return $answer;
}

sub call {
    print "said: ", ask("hello from Perl"), "\n";
    print "half-closed: ", ask("x" x 300_000) =~ tr/X//, "\n";
    my $select = IO::Select->new(map { reach } 1 .. 50);
    syswrite $_, "many" for $select->handles;
    my $good = 0;
    while ($select->count) {
        for my $connection ($select->can_read) {
            sysread $connection, my $answer, 100;
            $good += $answer eq "MANY";
            $select->remove($connection);
        }
    }
    print "at once: $good\n";
    my ($one, $other) = IO::Socket->socketpair(AF_UNIX, SOCK_DGRAM, PF_UNSPEC) or die "socketpair: $!";
    $one->send("a datagram");
    $other->recv(my $data, 100);
    print "pair: $data\n";
    reach("absent") or print "no such: $!\n";
    reach("passed") or print "refused: $!\n";
}

$mode eq "serve" ? serve : call;
