// The clocks of the engine.
#pragma once

namespace halfback {

// Seconds of a clock that never goes back.
double now_seconds();

// CPU seconds of the calling thread.
double thread_cpu_seconds();

}  // namespace halfback
