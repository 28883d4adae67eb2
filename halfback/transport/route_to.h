// Which address of this machine faces another one.
#pragma once

#include <string>

namespace halfback {

// Returns the address, as a number, from which packets to the host leave. Sends none. Throws
// TransportError when the host has no address or cannot be reached.
std::string address_towards(const std::string& host);

}  // namespace halfback
