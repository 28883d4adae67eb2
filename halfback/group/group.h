// Members that hold or compute something together, bound to one of them: what they give each other
// beside the messages of a schedule. One place that sums.
//
// All members call the operations of a group alike and in one order; a wait ends at the network's
// deadline with TransportError, which names operation and group, or with StoppedError after stop().
// Groups of the same ranks do not disturb each other: each has keys of its own.
#pragma once

#include "halfback/transport/exchange.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

class Group {
 public:
  // All ranks of a run, in order. The exchanges must outlive it and the groups split from it.
  static Group world(Exchanges& exchanges, int rank, int num_ranks);

  // Returns the group of these members of this one, in the order given; nothing where the own
  // member is not among them. All members of this group call it alike.
  std::optional<Group> split(const std::vector<int>& members);

  int rank() const { return rank_; }  // of the own member
  int size() const { return static_cast<int>(ranks_.size()); }
  // Whether all members are one rank, which holds all of it.
  bool is_of_one_rank() const;

  // Tensors by member. What is undefined or empty does not travel, and the own part stays where it
  // is. Both ends know shape and type; tensors are contiguous.
  using Parts = std::vector<at::Tensor>;

  // Gives gives[m] to member m and fills gets[m] with what it gives back. begin_exchange() does not
  // wait; several may be under way.
  std::unique_ptr<Exchange> begin_exchange(const Parts& gives, const Parts& gets) {
    return begin("exchange", gives, gets);
  }
  void exchange(const Parts& gives, const Parts& gets) { begin_exchange(gives, gets)->wait(); }

  // As `gives` all members have parts of one size for each other.
  void all_to_all(const Parts& gives, const Parts& gets) {
    begin("all_to_all", gives, gets)->wait();
  }

  // Fills `tensor` of all members with that of one.
  void broadcast(const at::Tensor& tensor, int root);

  // Fills parts[m] of all members with that of member m.
  std::unique_ptr<Exchange> begin_all_gather(const Parts& parts);
  void all_gather(const Parts& parts) { begin_all_gather(parts)->wait(); }

  // Returns the numbers of all members, by member. Each may bring another count of them.
  std::vector<std::vector<double>> all_gather(const std::vector<double>& numbers);

  // Sums parts[m] of all members into that of member m: pairwise, in the order of the members
  // (pairwise_sum.h), so that the bits depend on nothing else.
  void reduce_scatter(const Parts& parts) { reduce_scatter(parts, "reduce_scatter"); }

  // The same for a whole tensor of all members: each sums an equal part.
  void all_reduce(const at::Tensor& tensor);

 private:
  Group(Exchanges& exchanges, std::vector<int> ranks, int rank, int id);

  std::unique_ptr<Exchange> begin(const char* operation, const Parts& gives, const Parts& gets);
  void reduce_scatter(const Parts& parts, const char* operation);

  Exchanges* exchanges_;
  std::vector<int> ranks_;  // by member
  int rank_;
  int id_;
  int num_splits_ = 0;
  int num_exchanges_ = 0;
  std::shared_ptr<const std::string> name_;  // for errors
};

}  // namespace halfback
