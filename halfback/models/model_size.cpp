#include "halfback/models/model_size.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>

#include <cmath>
#include <type_traits>

namespace halfback {

namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 24;

[[noreturn]] void refuse(const ModelSize& size, const std::string& text, const char* expected) {
  throw ConfigError(
      fmt::format("model: --{} is '{}'; expected {}", size.name, text.substr(0, 40), expected));
}

}  // namespace

std::string to_text(const ModelSize& size) {
  return std::visit([](const auto* value) { return fmt::format("{}", *value); }, size.value);
}

void set_from_text(const ModelSize& size, const std::string& text) {
  std::visit(
      [&](auto* value) {
        using Value = std::remove_pointer_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          if (text != "true" && text != "false") {
            refuse(size, text, "true or false");
          }
          *value = text == "true";
        } else if constexpr (std::is_same_v<Value, double>) {
          const auto number = parse_number(text);
          if (!number) {
            refuse(size, text, "a number");
          }
          *value = *number;
        } else {
          const auto number = parse_integer(text);
          if (!number) {
            refuse(size, text, "a whole number");
          }
          *value = *number;
        }
      },
      size.value);
}

void check_whole_numbers(const ModelSizes& sizes) {
  for (const ModelSize& size : sizes) {
    const auto* const value = std::get_if<std::int64_t*>(&size.value);
    if (value != nullptr && (**value < 1 || **value > kLargest)) {
      throw ConfigError(fmt::format("model: --{} is {}; expected a number from 1 to {}", size.name,
                                    **value, kLargest));
    }
  }
}

void check_positive(const char* name, double value) {
  if (!(value > 0.0 && std::isfinite(value))) {
    throw ConfigError(
        fmt::format("model: --{} is {}; expected a finite number above 0", name, value));
  }
}

void check_sequence(std::int64_t sequence, std::int64_t num_positions) {
  if (sequence > num_positions) {
    throw ConfigError(
        fmt::format("model: --sequence is {}; expected {} or less, the positions that the model "
                    "has; use --sequence {}",
                    sequence, num_positions, num_positions));
  }
}

}  // namespace halfback
