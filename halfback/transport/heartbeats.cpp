#include "halfback/transport/heartbeats.h"

#include <fmt/format.h>

#include <utility>

namespace halfback {

Heartbeats::Heartbeats(std::vector<std::string> names)
    : names_(std::move(names)), last_(names_.size()) {}

void Heartbeats::hear(std::size_t process, const std::string& text, Seconds passed) {
  Heartbeat& last = last_[process];
  last.silence = last.text == text ? last.silence + passed : Seconds(0);
  last.text = text;
}

std::optional<std::string> Heartbeats::report_of_silence(Seconds timeout) const {
  for (std::size_t i = 0; i < last_.size(); ++i) {
    if (!has_left(i) && last_[i].silence > timeout) {
      return fmt::format("{} has sent no heartbeat for {:g} s; last known position: {}", names_[i],
                         timeout.count(), last_[i].position());
    }
  }
  return std::nullopt;
}

std::string Heartbeats::with_positions(std::string text) const {
  constexpr Seconds kLongSilence{2.0};
  for (std::size_t i = 0; i < last_.size(); ++i) {
    text += fmt::format("\n  {}: {}", names_[i], last_[i].position());
    if (last_[i].silence > kLongSilence) {
      text += fmt::format("; no heartbeat for {:.0f} s", last_[i].silence.count());
    }
  }
  return text;
}

}  // namespace halfback
