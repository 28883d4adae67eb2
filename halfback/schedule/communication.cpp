#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"

#include <cstdint>
#include <vector>

namespace halfback {

namespace {

// All sends of one channel in their order, and how far its receiver's list has come.
struct ChannelOrder {
  std::vector<Action> sends;
  std::size_t num_received = 0;
};

class Communication {
 public:
  explicit Communication(const Schedule& schedule)
      : schedule_(schedule),
        channels_(schedule.placement),
        orders_(static_cast<std::size_t>(channels_.count())) {
    const auto size = static_cast<std::size_t>(schedule.num_stages()) *
                      static_cast<std::size_t>(schedule.num_micro_batches);
    forward_number_.resize(size);
    backward_number_.resize(size);
  }

  Schedule run() {
    for (const auto& list : schedule_.ranks) {
      number_sends(list);
    }
    Schedule result{.name = schedule_.name,
                    .num_micro_batches = schedule_.num_micro_batches,
                    .placement = schedule_.placement,
                    .ranks = {},
                    .cuts = schedule_.cuts};
    for (const auto& list : schedule_.ranks) {
      result.ranks.push_back(lower(list));
    }
    return result;
  }

 private:
  void number_sends(const std::vector<Action>& list) {
    for (const Action& action : list) {
      if (const auto send = resulting_send(schedule_, action)) {
        auto& sends = order_of(*send).sends;
        number_of(*send) = static_cast<std::uint32_t>(sends.size());
        sends.push_back(*send);
      }
    }
  }

  std::vector<Action> lower(const std::vector<Action>& list) {
    std::vector<Action> result;
    result.reserve(2 * list.size());
    for (const Action& action : list) {
      if (const auto receive = needed_receive(schedule_, action)) {
        receive_up_to(*receive, result);
      }
      result.push_back(action);
      if (const auto send = resulting_send(schedule_, action)) {
        result.push_back(*send);
      }
    }
    return result;
  }

  void receive_up_to(const Action& receive, std::vector<Action>& result) {
    ChannelOrder& order = order_of(receive);
    const std::size_t end = std::size_t{number_of(counterpart(receive))} + 1;
    for (; order.num_received < end; ++order.num_received) {
      result.push_back(counterpart(order.sends[order.num_received]));
    }
  }

  ChannelOrder& order_of(const Action& message) {
    return orders_[static_cast<std::size_t>(channels_.of(message))];
  }

  // The place of a send in its channel.
  std::uint32_t& number_of(const Action& send) {
    auto& numbers = send.kind == ActionKind::SendForward ? forward_number_ : backward_number_;
    return numbers[static_cast<std::size_t>(send.stage) *
                       static_cast<std::size_t>(schedule_.num_micro_batches) +
                   static_cast<std::size_t>(send.micro_batch)];
  }

  const Schedule& schedule_;
  Channels channels_;
  std::vector<ChannelOrder> orders_;
  std::vector<std::uint32_t> forward_number_;
  std::vector<std::uint32_t> backward_number_;
};

}  // namespace

Schedule add_communication(const Schedule& schedule) {
  if (has_messages(schedule)) {
    throw ScheduleError("schedule: it already has sends and receives; remove them first");
  }
  validate(schedule);
  return Communication(schedule).run();
}

}  // namespace halfback
