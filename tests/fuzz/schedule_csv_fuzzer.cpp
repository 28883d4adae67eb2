// Any text either throws halfback::Error or is a schedule, which is valid or not.

#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/validate.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const halfback::Schedule schedule = halfback::parse_schedule(text, "fuzz");
    halfback::validate(schedule, {.channel = halfback::kNcclPair});
    halfback::validate(schedule);
  } catch (const halfback::Error&) {
    // What bad input should cause.
  }
  return 0;
}
