// What a rank reports about a step, in the form that is sent between processes.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/timeline/timeline.h"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace halfback {

// Exact bytes of one rank. The first three are constant. The others are of the last step; on a
// device other than the CPU they include all ranks on that device.
struct RankMemory {
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_state = 0;
  std::int64_t activations = 0;  // peak of what is kept or in transit, between actions
  std::int64_t peak = 0;         // of everything, including temporaries inside actions
};

struct RankReport {
  bool is_stop_asked = false;   // in its process
  double origin_seconds = 0.0;  // what its times count from, on the clock of the first rank
  double end_seconds = 0.0;     // when the rank was through with the step
  RankMemory memory;
  std::vector<double> totals;        // losses and norms, as StepTotals has them
  std::vector<Link> links;           // out of this rank, in this step
  std::map<int, StageBytes> stages;  // what its stages keep, where that was measured
  std::vector<Span> spans;
};

std::vector<double> to_numbers(const RankReport& report);
RankReport rank_report_of(int rank, std::span<const double> numbers);

}  // namespace halfback
