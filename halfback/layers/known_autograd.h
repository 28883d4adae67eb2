// Whether the parts of libtorch that have no documentation are those that autograd_graph.h knows.
#pragma once

namespace halfback {

// Runs a small graph split and whole, once per process. Throws Error if, with this libtorch, I and
// W differ from the backward.
void require_known_autograd();

}  // namespace halfback
