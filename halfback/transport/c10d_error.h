// What c10d and Gloo throw, as one line of ours.
#pragma once

#include <string>

namespace halfback {

// Returns the reason in the exception that is being handled, without stack and source lines.
std::string c10d_reason();

}  // namespace halfback
