// Turns what c10d and Gloo throw into one line of our own.
#pragma once

#include <string>

namespace halfback {

// Returns the reason in the exception that is being handled, without stack trace and source lines.
std::string c10d_reason();

}  // namespace halfback
