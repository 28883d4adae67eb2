// A kind of device that is not the CPU, for tests of what must not care where tensors are: memory
// of this process under a device type of its own, on which every operator is the CPU's, run on
// copies. There are two of them, each counts its bytes, and an operator over both is an error. Who
// reads the memory by its address crashes.
#pragma once

#include <c10/core/Device.h>

namespace halfback::testing {

inline constexpr at::DeviceType kOtherDevice = at::kPrivateUse1;
inline constexpr int kNumOtherDevices = 2;

// Makes the devices known to torch. Call before the first use; more calls do nothing.
void install_other_devices();

// Returns how often somebody has waited for a stream of theirs.
int num_stream_waits();

}  // namespace halfback::testing
