-- Lua: LuaSocket's unix module, and its select. Like echo.c, without files.
local socket = require "socket"
local unix = require "socket.unix"

local mode, address = arg[1], arg[2]

local function serve()
  local server = assert(unix.stream())
  assert(server:bind(address))
  assert(server:listen(100))
  local all = { server }
  while true do
    local ready = socket.select(all)
    for _, from in ipairs(ready) do
      if from == server then
        local accepted = assert(server:accept())
        accepted:settimeout(0)
        all[#all + 1] = accepted
      else
        local data, problem, part = from:receive(65536)
        local words = data or part
        if words ~= "" then
          from:settimeout(5)
          from:send(words:upper())
          from:settimeout(0)
        end
        if problem == "closed" then
          from:close()
          for at, connection in ipairs(all) do
            if connection == from then table.remove(all, at) end
          end
        end
      end
    end
  end
end

local function reach()
  local connection = assert(unix.stream())
  assert(connection:connect(address))
  return connection
end

local function ask(words)
  local connection = reach()
  local answer, sent = {}, 0
  connection:settimeout(0)
  while true do
    local _, writable = socket.select({ connection }, sent < #words and { connection } or {})
    if writable[1] then
      local last, _, reached = connection:send(words, sent + 1)
      sent = last or reached
      if sent == #words then connection:shutdown("send") end
    end
    local data, problem, part = connection:receive(65536)
    answer[#answer + 1] = data or part
    if problem == "closed" then break end
  end
  connection:close()
  return table.concat(answer)
end

local function call()
  print("said: " .. ask("hello from Lua"))
  print("half-closed: " .. select(2, ask(("x"):rep(300000)):gsub("X", "")))
  local all, good = {}, 0
  for number = 1, 50 do
    all[number] = reach()
    all[number]:send("many")
  end
  for _, connection in ipairs(all) do
    if connection:receive(4) == "MANY" then good = good + 1 end
  end
  print("at once: " .. good)
  local receiver, sender = unix.dgram(), unix.dgram()
  assert(receiver:bind("receiver"))
  assert(sender:bind("sender"))
  assert(sender:sendto("a datagram", "receiver"))
  print("datagram: " .. table.concat({ receiver:receivefrom() }, "\t"))
  print("no such: " .. select(2, unix.stream():connect("absent")))
  print("refused: " .. select(2, unix.stream():connect("passed")))
end

if mode == "serve" then serve() else call() end
