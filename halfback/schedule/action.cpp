#include "halfback/schedule/action.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace halfback {

namespace {

constexpr std::array<std::string_view, kNumActionKinds> kLetters = {
    "F", "B", "I", "W", "SEND_F", "RECV_F", "SEND_B", "RECV_B", "REDUCE_GRAD", "U"};

// Takes the digits at the front of the text; nothing when there are none or too many.
std::optional<int> take_index(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0 || value >= kMaxIndex || text.front() == '-') {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::string_view letters(ActionKind kind) { return kLetters[static_cast<std::size_t>(kind)]; }

std::string to_string(const Action& action) {
  if (!has_micro_batch(action.kind)) {
    return fmt::format("{}{}", action.stage, letters(action.kind));
  }
  return fmt::format("{}{}{}", action.stage, letters(action.kind), action.micro_batch);
}

std::optional<Action> try_parse_action(std::string_view text) {
  const std::optional<int> stage = take_index(text);
  if (!stage) {
    return std::nullopt;
  }
  const std::size_t num_letters = std::min(text.find_first_of("0123456789"), text.size());
  const auto found = std::find(kLetters.begin(), kLetters.end(), text.substr(0, num_letters));
  if (found == kLetters.end()) {
    return std::nullopt;
  }
  text.remove_prefix(num_letters);
  const auto kind = static_cast<ActionKind>(found - kLetters.begin());
  if (!has_micro_batch(kind)) {
    return text.empty() ? std::optional<Action>{{kind, *stage, 0}} : std::nullopt;
  }
  const std::optional<int> micro_batch = take_index(text);
  if (!micro_batch || !text.empty()) {
    return std::nullopt;
  }
  return Action{kind, *stage, *micro_batch};
}

Action parse_action(std::string_view text) {
  if (const std::optional<Action> action = try_parse_action(text)) {
    return *action;
  }
  throw ScheduleError(fmt::format(
      "action: '{}' is none; expected stage, letters, micro-batch, as in 2F0, with the letters F, "
      "B, I, W, SEND_F, RECV_F, SEND_B or RECV_B, or stage and REDUCE_GRAD or U, as in 2U",
      text.substr(0, 40)));
}

}  // namespace halfback
