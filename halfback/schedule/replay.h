// Greedy training without an order between the stages: which stage trains next, and on which output
// of the stage below. Staleness is data here: a plan has no clock, and one thread can run it.
//
// Between two neighboring stages is a replay buffer, which stores the last outputs of the lower
// one. At each tick one stage, drawn at random, takes a batch, trains on it by its own loss, is
// updated, and writes its output, replacing the oldest once its buffer is full. Stage 0 takes the
// next batch of the data. Every other stage reads one of the outputs that are stored below it:
// among those that it has read the least often, the newest. A batch may thus be read often, or
// never.
//
// What is drawn is a stage with something to read, as if a tick that finds the buffer below empty
// were drawn again. The authors' code fills the buffers in a fixed order first.
//
// Source: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020, arXiv 1901.08164; the
// rule of reading is that of the authors' code ("priority_lifo").
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace halfback {

struct ReplayOptions {
  struct Slowed {
    int stage = 0;
    int factor = 1;  // the stage is drawn 1/factor as often as each other stage
  };
  int num_stages = 1;
  int buffer_size = 1;  // outputs of one batch each, stored between two neighboring stages
  std::optional<Slowed> slowed = {};
  std::uint64_t seed = 0;
};

// Throws ConfigError for a number below 1 or above kMaxIndex, and for a slowed stage that does not
// exist.
void check(const ReplayOptions& options);

// One stage trains on one batch.
struct ReplayTick {
  int stage = 0;
  std::int64_t update = 1;  // that the stage does, from 1
  std::int64_t batch = 0;   // of the data, from 0: whose output it reads, and whose targets
  // The update of the stage below before which it computed that output, and how many updates it has
  // done after that one: less than the buffer size. On stage 0 both are 0.
  std::int64_t source = 0;
  std::int64_t staleness = 0;

  bool operator==(const ReplayTick&) const = default;
};

class Replay {
 public:
  // Throws ConfigError as check() does.
  explicit Replay(const ReplayOptions& options);

  // Returns the next tick, the first at the first call. It depends on the options and on the number
  // of calls only. Linear in the number of stages and in the buffer size.
  ReplayTick next();

 private:
  struct Output {
    std::int64_t batch = 0;
    std::int64_t num_reads = 0;
  };
  struct StageState {
    std::int64_t num_updates = 0;
    std::deque<Output> outputs = {};  // of the last updates, the oldest first
  };
  int draw_stage();

  ReplayOptions options_;
  std::uint64_t num_ticks_ = 0;
  int num_ready_ = 1;  // stages 0 to num_ready_ - 1 have something to read
  std::vector<StageState> stages_;
};

}  // namespace halfback
