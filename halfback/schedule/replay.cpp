#include "halfback/schedule/replay.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/schedule/action.h"

#include <fmt/format.h>

#include <algorithm>

namespace halfback {

namespace {

void check_range(const char* what, int value, int lowest, int highest) {
  if (value < lowest || value > highest) {
    throw ConfigError(
        fmt::format("replay: {} is {}; it must be {} to {}", what, value, lowest, highest));
  }
}

}  // namespace

void check(const ReplayOptions& options) {
  check_range("the number of stages", options.num_stages, 1, kMaxIndex);
  check_range("the size of the buffers", options.buffer_size, 1, kMaxIndex);
  if (options.slowed) {
    check_range("the slowed stage", options.slowed->stage, 0, options.num_stages - 1);
    check_range("the factor of the slowed stage", options.slowed->factor, 1, kMaxIndex);
  }
}

Replay::Replay(const ReplayOptions& options) : options_(options) {
  check(options);
  stages_.resize(static_cast<std::size_t>(options.num_stages));
}

// Each stage has as many tickets as its weight, and the slowed one has one.
int Replay::draw_stage() {
  const auto weight = [this](int stage) {
    const auto& slowed = options_.slowed;
    return static_cast<std::uint64_t>(slowed && stage != slowed->stage ? slowed->factor : 1);
  };
  std::uint64_t sum = weight(0);
  for (int stage = 1; stage < num_ready_; ++stage) {
    sum += weight(stage);
  }
  std::uint64_t ticket = keyed_hash(Purpose::ReplayStage, {options_.seed, num_ticks_++}) % sum;
  int stage = 0;
  for (; ticket >= weight(stage); ++stage) {
    ticket -= weight(stage);
  }
  return stage;
}

ReplayTick Replay::next() {
  const int stage = draw_stage();
  StageState& own = stages_[static_cast<std::size_t>(stage)];
  ReplayTick tick{.stage = stage, .update = ++own.num_updates, .batch = own.num_updates - 1};
  if (stage > 0) {
    StageState& below = stages_[static_cast<std::size_t>(stage) - 1];
    // From the newest to the oldest, so the first of the smallest is the newest of them.
    const auto read = std::ranges::min_element(below.outputs.rbegin(), below.outputs.rend(), {},
                                               &Output::num_reads);
    ++read->num_reads;
    tick.batch = read->batch;
    tick.staleness = read - below.outputs.rbegin();
    tick.source = below.num_updates - tick.staleness;
  }
  if (stage + 1 < options_.num_stages) {
    own.outputs.push_back({.batch = tick.batch});
    if (own.outputs.size() > static_cast<std::size_t>(options_.buffer_size)) {
      own.outputs.pop_front();
    }
    num_ready_ = std::max(num_ready_, stage + 2);
  }
  return tick;
}

}  // namespace halfback
