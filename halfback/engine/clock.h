// The clocks of the engine.
#pragma once

namespace halfback {

// Seconds of a monotonic clock.
double now_seconds();

// CPU seconds of the calling thread.
double thread_cpu_seconds();

}  // namespace halfback
