// The simulator's rules once more, slow and obvious: equations for the ends of all actions, solved
// by setting them again and again until none changes. Shares no code with the simulator.
#pragma once

#include "halfback/simulate/simulator.h"

#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace halfback::testing {

class ReferenceSimulator {
 public:
  ReferenceSimulator(const Schedule& schedule, const CostModel& costs, ChannelRule rule);

  // Where updates wait for reductions, the first of those whose time is known runs, and all times
  // are found again.
  void solve();

  double start(Position p) const { return is_reduction(p) ? reduced(p).first : value(starts_, p); }
  double end(Position p) const { return is_reduction(p) ? reduced(p).second : value(ends_, p); }

 private:
  using Times = std::pair<double, double>;
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  bool is_reduction(Position p) const;
  const Times& reduced(Position p) const { return reduced_.at({p.rank, p.index}); }

  // Returns the reductions without a time, by stage and number on their rank.
  std::map<std::pair<int, int>, std::vector<Position>> reductions_left() const;

  // Of the reductions left, the one that could have begun first goes next, after all before it that
  // have a rank in common with it.
  bool reduce_first();

  // When the sum ends that an update of replicas waits for.
  double sum_end(Position update) const;

  void solve_lists();

  struct Message {
    Position made;  // the send, or without messages what makes the tensor
    std::string taker;
    double bytes = 0.0;
    int from = 0;
    int to = 0;
    int order = 0;  // in its link
  };

  static double value(const std::vector<std::vector<double>>& of, Position p);
  int rank_of(int stage, int micro_batch) const;
  // The stages of the losses whose gradients a stage has.
  std::vector<int> losses_at(int stage) const;
  // The loss of a backward action or of a send: the one that it names, or the only one.
  int loss_of(const Action& action) const;
  bool is_given_down(const Action& action) const;

  static std::string place(bool up, int stage, int micro_batch, int loss);

  void enter(const Action& action, Position at);

  double free_before(Position p) const;
  // When the message begins to be sent, were its link free.
  double ready(const Message& message) const;
  double left_link(const Message& message) const;
  void link_cost(const Message& message, double& latency, double& bandwidth) const;
  double arrived(const Message& message) const;

  void set(Position p);

  // Without messages: when what a compute action takes from another rank has arrived.
  double taken(const Action& action) const;

  const Schedule& schedule_;
  const CostModel& costs_;
  ChannelRule rule_;
  std::map<std::string, Position> where_;
  std::map<std::string, Message> messages_;  // by what takes them
  std::map<std::string, std::string> sends_;
  std::map<std::pair<int, int>, std::vector<std::string>> links_;
  std::vector<std::vector<double>> starts_;
  std::vector<std::vector<double>> ends_;         // a REDUCE_GRAD takes no time in its list
  std::map<std::pair<int, int>, Times> reduced_;  // by rank and index
};

}  // namespace halfback::testing
