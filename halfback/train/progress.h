// The progress of a run: a bar that redraws itself on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace halfback {

struct ProgressState {
  std::int64_t step = 0;  // done
  std::int64_t num_steps = 0;
  double loss = 0.0;
  double items_per_second = 0.0;  // 0 if unknown
  std::string item_name = "tokens";
  std::optional<double> eta_seconds;  // nothing if unknown
};

// Returns "0:41", "12:03", "1:02:03" or "2d 03:04:05"; negative durations are "0:00".
std::string format_duration(double seconds);

// Returns a count with three digits and a letter: "987", "34.1k", "1.20M".
std::string format_count(double count);

// Returns "step 120/500 loss 2.345 34.1k tokens/s ETA 0:41"; unknown parts are left out.
std::string format_progress_line(const ProgressState& state);

// Returns "[####----] " and the line. The bar takes what is left of `width` columns, from 10 to 40;
// the text is cut to the width, so that it stays on one line.
std::string format_progress_bar(const ProgressState& state, int width);

// Shows progress on a stream (the command line gives stderr). Not thread-safe.
class Progress {
 public:
  // A resumed run starts after `first_step`. Without a terminal, a line is printed every
  // `line_every` steps or 5 s, whichever is first, and for the last step.
  Progress(std::FILE* stream,
           std::int64_t num_steps,
           std::int64_t first_step = 0,
           std::string item_name = "tokens",
           std::int64_t line_every = 50);
  // Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Reports that `step` steps are done; `num_items` is what the last one took. Redraws at most 10
  // times a second.
  void update(std::int64_t step, double loss, std::int64_t num_items);

 private:
  using Clock = std::chrono::steady_clock;

  ProgressState state_at(std::int64_t step, double loss) const;
  bool is_due(std::int64_t step, Clock::time_point now) const;
  void show(const ProgressState& state);

  std::FILE* stream_;
  bool is_terminal_;
  std::int64_t num_steps_;
  std::int64_t first_step_;
  std::string item_name_;
  std::int64_t line_every_;
  std::int64_t num_items_ = 0;
  std::int64_t shown_step_;
  Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> shown_at_;
};

}  // namespace halfback
