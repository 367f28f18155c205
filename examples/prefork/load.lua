-- SPDX-License-Identifier: Apache-2.0
-- What wrk sends to the server, and what it notes down: in a file a thread, whose names begin with the argument, "ID USER"
-- for each session issued and "seen USER VISITS" for each visit answered.
--   One request in eight logs in, one is a greedy client's, the others visit with the thread's latest session.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  sent, sent_visits, completed, visits, about, limited, failed = 0, 0, 0, 0, 0, 0, 0
  notes = io.open(args[1] .. "." .. number, "w")
end

function request()
  sent = sent + 1
  local client = "client" .. number .. "." .. math.floor(sent / 40)  -- each stays below its limit
  if cookie == nil or sent % 8 == 0 then
    return wrk.format("POST", "/login", {["X-Client"] = client}, "user" .. number .. "." .. sent)
  elseif sent % 8 == 1 then
    return wrk.format("GET", "/about", {["X-Client"] = "greedy"})
  end
  sent_visits = sent_visits + 1
  return wrk.format("GET", "/", {["X-Client"] = client, ["Cookie"] = cookie})
end

-- wrk keeps what had arrived of an answer when its connection broke, and puts it before the next one: of the headers, a
-- later one counts, and of the body the last line.
function response(status, headers, body)
  completed = completed + 1
  local user, count = body:match("(user%S+) (%d+)\n$")
  local id = (headers["Set-Cookie"] or ""):match("session=(%x+)")
  if id then
    notes:write(id, " ", headers["X-User"], "\n")
    cookie = "session=" .. id
  elseif status == 429 then
    limited = limited + 1
  elseif status ~= 200 then
    failed = failed + 1
  elseif user then
    visits = visits + 1
    notes:write("seen ", user, " ", count, "\n")
  else
    about = about + 1
  end
end

function done()
  for _, name in ipairs({"sent", "sent_visits", "completed", "visits", "about", "limited", "failed"}) do
    local sum = 0
    for _, thread in ipairs(threads) do sum = sum + thread:get(name) end
    io.write("total ", name, " ", sum, "\n")
  end
end
