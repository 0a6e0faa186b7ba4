-- Gives every request its slot, so that wrk asks at a constant rate:
--   wrk -t1 -c64 -d10s -s bench/rate.lua URL -- RATE PATHS [BODIES]
-- PATHS is a file with a path a line, asked in turn; with BODIES, a file with a JSON body a line, each is posted once to
-- the first path. wrk measures from the moment a request is sent. A connection that still waits for an answer misses no
-- slot for the others: the next free one takes it. How many requests were sent tells whether the slots were kept. With
-- BODIES it ends when all are answered.

local ffi = require("ffi")
ffi.cdef([[
struct span { long seconds; long nanoseconds; };
int clock_gettime(int clock, struct span *now);
int getpid(void);
int kill(int process, int signal);
]])

local now = ffi.new("struct span")
local threads, paths, bodies, slot_ms, slot, turn = {}, {}, nil, 0, nil, -1
refused, answered = 0, 0

local function milliseconds()
    ffi.C.clock_gettime(1, now)
    return tonumber(now.seconds) * 1000 + tonumber(now.nanoseconds) / 1e6
end

local function lines(name)
    local found = {}
    for line in io.lines(name) do
        found[#found + 1] = line
    end
    return found
end

function setup(thread)
    threads[#threads + 1] = thread
end

function init(args)
    slot_ms = 1000 / tonumber(args[1])
    paths = lines(args[2])
    if args[3] then
        bodies = lines(args[3])
    end
end

function delay()
    local at = milliseconds()
    slot = math.max((slot or at) + slot_ms, at - 1000)
    return math.max(0, math.floor(slot - at + 0.5))
end

-- The first is never sent: wrk looks whether there is one.
function request()
    turn = turn + 1
    if bodies and bodies[turn] then
        return wrk.format("POST", paths[1], { ["Content-Type"] = "application/json" }, bodies[turn])
    end
    return wrk.format("GET", paths[bodies and 2 or turn % #paths + 1])
end

function response(status)
    if status >= 400 then
        refused = refused + 1
    end
    answered = answered + 1
    if bodies and answered == #bodies then
        -- As Ctrl-C: wrk ends and tells what it measured.
        ffi.C.kill(ffi.C.getpid(), 2)
    end
end

function done(summary, latency)
    local lost = summary.errors.connect + summary.errors.read + summary.errors.write
    local wrong = 0
    for _, thread in ipairs(threads) do
        wrong = wrong + thread:get("refused")
    end
    io.write(
        string.format(
            '{"requests": %d, "seconds": %.3f, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
                .. '"lost": %d, "refused": %d}\n',
            summary.requests,
            summary.duration / 1e6,
            latency:percentile(50) / 1e3,
            latency:percentile(90) / 1e3,
            latency:percentile(99) / 1e3,
            latency.max / 1e3,
            lost,
            wrong
        )
    )
end
