// Shows the thread sanitizer where OpenMP's teams begin and end. libgomp is not built with it, so
// that every parallel loop looks like a race with what comes before and after it. Only in builds
// with that sanitizer.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

namespace {

using Body = void (*)(void*);
using Parallel = void (*)(Body, void*, unsigned, unsigned);

struct Team {
  Body body;
  void* data;
  char end;
};

void run_member(void* argument) {
  auto* const team = static_cast<Team*>(argument);
  __tsan_acquire(team);
  team->body(team->data);
  __tsan_release(&team->end);
}

}  // namespace

// What GCC makes of "#pragma omp parallel".
extern "C" void GOMP_parallel(Body body, void* data, unsigned num_threads, unsigned flags) {
  static const auto original = reinterpret_cast<Parallel>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Team team{body, data, 0};
  __tsan_release(&team);
  original(run_member, &team, num_threads, flags);
  __tsan_acquire(&team.end);
}
