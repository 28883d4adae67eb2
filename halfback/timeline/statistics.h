// Statistics of a timeline. Busy means computing: F, B, I, W and U, neither messages nor
// reductions.
#pragma once

#include "halfback/timeline/timeline.h"

#include <algorithm>
#include <vector>

namespace halfback {

struct Statistics {
  double makespan_seconds = 0.0;     // end of the last span minus start of the first
  std::vector<double> busy_seconds;  // by rank
  double bubble_fraction = 0.0;      // 1 - busy of all ranks / (num_ranks x makespan)
  // The longest period of a rank: end of its last span minus start of its first, without waits in
  // receives before and after, and without waits for the updates of others. It is the time per step
  // of a long run in which ranks do not wait for the updates of others.
  double stage_step_seconds = 0.0;
  double stage_step_bubble_fraction = 0.0;  // 1 - busy of all ranks / (num_ranks x stage step)
  // By rank, the time during which a reduction is under way, and the exposed part of it, during
  // which the rank does not compute. The rest is hidden.
  std::vector<double> reduction_seconds;
  std::vector<double> exposed_reduction_seconds;

  // Returns the longest time of any rank.
  double longest_reduction() const { return longest(reduction_seconds); }
  double longest_exposed_reduction() const { return longest(exposed_reduction_seconds); }

 private:
  static double longest(const std::vector<double>& seconds) {
    return seconds.empty() ? 0.0 : *std::max_element(seconds.begin(), seconds.end());
  }
};

// The period of a rank, from its spans in order.
struct RankPeriod {
  double first_start = 0.0;
  double last_end = 0.0;
  bool has_begun = false;

  // A receive neither starts nor ends a period. An update adds only its length. A reduction may end
  // after the actions that follow it.
  void add(ActionKind kind, double start, double end) {
    if (is_receive(kind)) {
      return;
    }
    if (!has_begun) {
      first_start = last_end = start;
      has_begun = true;
    }
    last_end = kind == ActionKind::Update ? last_end + (end - start) : std::max(last_end, end);
  }
  double length() const { return last_end - first_start; }
};

// Returns 1 - busy of all ranks / (num_ranks x period); 0 for an empty period.
double idle_fraction(const std::vector<double>& busy, double period);

// Returns the statistics; all are 0 without spans.
Statistics statistics(const Timeline& timeline);

// Returns the fraction of the messages' time under way during which their senders continued: 1 -
// length of all sends / time under way, at least 0; 1 without messages.
double hidden_message_fraction(const Timeline& timeline);

// The median duration of one kind of action on one stage.
struct ActionCost {
  int stage = 0;
  ActionKind kind{};
  bool is_of_own_loss = false;  // of a stage that has the gradients of several losses
  int count = 0;
  double median_seconds = 0.0;
  double spread_seconds = 0.0;  // half the distance between the quartiles
};

// Which time of a span counts: start to end, or the CPU time of the rank's own thread.
enum class SpanClock { Wall, ThreadCpu };

// Returns the costs of all compute and update actions, by stage and then by kind; I of the stage's
// own loss comes after the others.
std::vector<ActionCost> median_costs(const Timeline& timeline, SpanClock clock);

}  // namespace halfback
