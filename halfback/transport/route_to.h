// Finds the address of this machine that faces another one.
#pragma once

#include <string>

namespace halfback {

// Returns the numeric address from which packets to the host leave. Sends none. Throws
// TransportError if the host has no address or cannot be reached.
std::string address_towards(const std::string& host);

}  // namespace halfback
