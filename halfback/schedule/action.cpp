#include "halfback/schedule/action.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace halfback {

namespace {

// Takes the digits at the front of the text. Returns nothing if there are none or too many.
std::optional<int> take_index(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0 || value >= kMaxIndex || text.front() == '-') {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

// Takes the ".1" of a slice at the front of the text. Returns 0 if there is none.
std::optional<std::uint16_t> take_slice(std::string_view& text) {
  if (text.empty() || text.front() != '.') {
    return 0;
  }
  text.remove_prefix(1);
  const bool is_plain = !text.empty() && text.front() != '0';  // one text for each action
  const std::optional<int> slice = is_plain ? take_index(text) : std::nullopt;
  return slice && *slice <= std::numeric_limits<std::uint16_t>::max()
             ? std::optional(static_cast<std::uint16_t>(*slice))
             : std::nullopt;
}

// Takes the "@4" of a loss that an action of a stage names. Returns 0 if there is none.
std::optional<std::uint8_t> take_loss(std::string_view& text, int stage) {
  if (text.empty() || text.front() != '@') {
    return 0;
  }
  text.remove_prefix(1);
  const std::optional<int> loss = text.empty() ? std::nullopt : take_index(text);
  return loss && *loss >= stage && *loss - stage <= kMaxLossOffset
             ? std::optional(static_cast<std::uint8_t>(1 + *loss - stage))
             : std::nullopt;
}

}  // namespace

std::string to_string(const Action& action) {
  std::string text;
  append_action(text, action);
  return text;
}

void append_action(std::string& text, const Action& action) {
  text += std::to_string(action.stage);
  text += letters(action.kind);
  if (has_micro_batch(action.kind)) {
    text += std::to_string(action.micro_batch);
  }
  if (action.slice != 0) {
    text += '.';
    text += std::to_string(action.slice);
  }
  if (action.loss != 0) {
    text += '@';
    text += std::to_string(action.stage + action.loss - 1);
  }
}

std::optional<Action> try_parse_action(std::string_view text) {
  const std::optional<int> stage = take_index(text);
  if (!stage) {
    return std::nullopt;
  }
  const std::size_t num_letters = std::min(text.find_first_of("0123456789"), text.size());
  const auto* const found =
      std::ranges::find(kKinds, text.substr(0, num_letters), &KindTraits::letters);
  if (found == kKinds.end()) {
    return std::nullopt;
  }
  text.remove_prefix(num_letters);
  if (!found->names_micro_batch) {
    return text.empty() ? std::optional<Action>{{found->kind, *stage, 0}} : std::nullopt;
  }
  const std::optional<int> micro_batch = take_index(text);
  const std::optional<std::uint16_t> slice = take_slice(text);
  const std::optional<std::uint8_t> loss = take_loss(text, *stage);
  if (!micro_batch || !slice || !loss || !text.empty() || (*loss != 0 && !found->names_loss)) {
    return std::nullopt;
  }
  Action action{found->kind, *stage, *micro_batch, *slice};
  action.loss = *loss;
  return action;
}

Action parse_action(std::string_view text) {
  if (const std::optional<Action> action = try_parse_action(text)) {
    return *action;
  }
  throw ScheduleError(fmt::format(
      "action: '{}' is not an action; expected stage, letters, micro-batch, as in 2F0, with "
      "letters F, B, I, W, SEND_F, RECV_F, SEND_B or RECV_B, or stage and REDUCE_GRAD or U, as 2U",
      text.substr(0, 40)));
}

}  // namespace halfback
