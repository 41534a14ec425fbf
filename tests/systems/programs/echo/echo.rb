# Ruby: UNIXServer and UNIXSocket in threads, send_io. Like echo.c; files go by a second socket, ADDRESS-files.
require "socket"

def serve(address)
  files = UNIXServer.new("#{address}-files")
  Thread.new do
    loop do
      connection = files.accept
      file = connection.recv_io
      connection.write(file.read.upcase)
      file.close
      connection.close
    end
  end
  server = UNIXServer.new(address)
  loop do
    Thread.new(server.accept) do |connection|
      loop { connection.write(connection.readpartial(65536).upcase) }
    rescue EOFError
      connection.close
    end
  end
end

def ask(address, words)
  UNIXSocket.open(address) do |connection|
    filler = Thread.new do
      connection.write(words)
      connection.close_write
    end
    answer = connection.read
    filler.join
    answer
  end
end

def failure(what, where)
  UNIXSocket.new(where)
rescue SystemCallError => e
  puts "#{what}: #{e.class} #{e.message}"
end

def call(address)
  puts "said: #{ask(address, 'hello from Ruby')}"
  puts "half-closed: #{ask(address, 'x' * 300_000).count('X')}"
  answers = Array.new(50) { Thread.new { ask(address, "many") } }.map(&:value)
  puts "at once: #{answers.count('MANY')}"
  UNIXSocket.open("#{address}-files") do |connection|
    File.open("passed") { |file| connection.send_io(file) }
    puts "file: #{connection.read}"
  end
  one, other = UNIXSocket.pair
  sent, file = Socket.pair(:UNIX, :DGRAM)
  one.sendmsg("f", 0, nil, Socket::AncillaryData.unix_rights(file))
  _, _, _, rights = other.recvmsg(scm_rights: true)
  sent.write("through a socket that was passed")
  puts "pair: #{rights.unix_rights.first.recv(100)}"
  begin
    other.read_nonblock(1)
  rescue IO::WaitReadable => e
    puts "not ready: #{e.class}"
  end
  failure("no such", "absent")
  failure("refused", "passed")
end

send(ARGV[0], ARGV[1].sub(/\A@/, "\0"))
