#include "halfback/train/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace halfback {

namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr std::chrono::seconds kLineInterval{5};
constexpr int kDefaultColumns = 80;

int terminal_columns(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kDefaultColumns;
  }
  return size.ws_col;
}

}  // namespace

std::string format_duration(double seconds) {
  constexpr double kMaxSeconds = 1e9;
  const auto total =
      std::isnan(seconds) ? std::int64_t{0} : std::llround(std::clamp(seconds, 0.0, kMaxSeconds));
  const auto days = total / 86400;
  const auto hours = total / 3600 % 24;
  const auto minutes = total / 60 % 60;
  if (days > 0) {
    return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, total % 60);
  }
  if (hours > 0) {
    return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  }
  return fmt::format("{}:{:02}", minutes, total % 60);
}

std::string format_count(double count) {
  constexpr std::string_view kLetters = "kMGT";
  if (count < 999.5) {
    return fmt::format("{:.0f}", count);
  }
  std::size_t letter = 0;
  count /= 1000.0;
  while (count >= 999.5 && letter + 1 < kLetters.size()) {
    count /= 1000.0;
    ++letter;
  }
  const int decimals = count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", count, decimals, kLetters[letter]);
}

std::string format_progress_line(const ProgressState& state) {
  std::string line = fmt::format("step {}/{} loss {:.3f}", state.step, state.num_steps, state.loss);
  if (state.items_per_second > 0.0) {
    line += fmt::format(" {} {}/s", format_count(state.items_per_second), state.item_name);
  }
  if (state.eta_seconds) {
    line += fmt::format(" ETA {}", format_duration(*state.eta_seconds));
  }
  return line;
}

std::string format_progress_bar(const ProgressState& state, int width) {
  constexpr int kMinCells = 10;
  constexpr int kMaxCells = 40;
  constexpr int kFrame = 3;  // brackets and the space after them
  const std::string line = format_progress_line(state);
  const int num_cells =
      std::clamp(width - kFrame - static_cast<int>(line.size()), kMinCells, kMaxCells);
  const double done =
      state.num_steps > 0
          ? std::clamp(static_cast<double>(state.step) / static_cast<double>(state.num_steps), 0.0,
                       1.0)
          : 0.0;
  const auto num_full = static_cast<int>(done * num_cells);
  const std::string bar =
      fmt::format("[{:#<{}}{:-<{}}] {}", "", num_full, "", num_cells - num_full, line);
  return bar.substr(0, static_cast<std::size_t>(std::max(width, 0)));
}

Progress::Progress(std::FILE* stream,
                   std::int64_t num_steps,
                   std::int64_t first_step,
                   std::string item_name,
                   std::int64_t line_every)
    : stream_(stream),
      is_terminal_(::isatty(::fileno(stream)) == 1),
      num_steps_(num_steps),
      first_step_(first_step),
      item_name_(std::move(item_name)),
      line_every_(std::max<std::int64_t>(line_every, 1)),
      shown_step_(first_step) {}

Progress::~Progress() {
  if (is_terminal_ && shown_at_) {
    std::fputs("\n", stream_);
  }
}

void Progress::update(std::int64_t step, double loss, std::int64_t num_items) {
  num_items_ += num_items;
  const Clock::time_point now = Clock::now();
  if (is_due(step, now)) {
    show(state_at(step, loss));
    shown_at_ = now;
    shown_step_ = step;
  }
}

bool Progress::is_due(std::int64_t step, Clock::time_point now) const {
  if (!shown_at_ || step >= num_steps_) {
    return true;
  }
  const auto waited = now - *shown_at_;
  return is_terminal_ ? waited >= kRedrawInterval
                      : waited >= kLineInterval || step - shown_step_ >= line_every_;
}

ProgressState Progress::state_at(std::int64_t step, double loss) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - started_).count();
  const auto num_done = static_cast<double>(step - first_step_);
  ProgressState state{.step = step,
                      .num_steps = num_steps_,
                      .loss = loss,
                      .item_name = item_name_,
                      .eta_seconds = {}};
  if (elapsed > 0.0 && num_done > 0.0) {
    state.items_per_second = static_cast<double>(num_items_) / elapsed;
    state.eta_seconds = elapsed / num_done * static_cast<double>(num_steps_ - step);
  }
  return state;
}

void Progress::show(const ProgressState& state) {
  // Column 0, the text, then clears what is left of a longer text before it.
  const std::string text =
      is_terminal_
          ? fmt::format("\r{}\x1b[K", format_progress_bar(state, terminal_columns(stream_) - 1))
          : format_progress_line(state) + "\n";
  std::fputs(text.c_str(), stream_);
  std::fflush(stream_);
}

}  // namespace halfback
