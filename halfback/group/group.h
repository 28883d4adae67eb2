// A group of ranks that hold or compute something together, as one of its members sees it. It moves
// what they give each other beside the messages of a schedule. Only groups sum across ranks.
//
// All members call the same operations of a group in the same order. A wait ends at the network's
// deadline with TransportError, which names operation and group, or with StoppedError after stop().
// Groups of the same ranks do not disturb each other, since each has its own keys.
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

  // Returns the group of these members, in the order given, or nothing if this member is not among
  // them. All members of this group make the same call.
  std::optional<Group> split(const std::vector<int>& members);

  int rank() const { return rank_; }  // the index of this member
  int size() const { return static_cast<int>(ranks_.size()); }
  // True if all members are one rank, which then holds everything.
  bool is_of_one_rank() const;

  // Tensors by member. Undefined and empty ones are not sent, and the member's own part stays where
  // it is. Both ends know shape and type; tensors are contiguous.
  using Parts = std::vector<at::Tensor>;

  // Sends gives[m] to member m and fills gets[m] with what m sends. begin_exchange() does not wait;
  // several may be in progress.
  std::unique_ptr<Exchange> begin_exchange(const Parts& gives, const Parts& gets) {
    return begin("exchange", gives, gets);
  }
  void exchange(const Parts& gives, const Parts& gets) { begin_exchange(gives, gets)->wait(); }

  // An exchange in which all parts have the same size.
  void all_to_all(const Parts& gives, const Parts& gets) {
    begin("all_to_all", gives, gets)->wait();
  }

  // Fills `tensor` of all members with that of member `root`.
  void broadcast(const at::Tensor& tensor, int root);

  // Fills parts[m] of all members with that of member m.
  std::unique_ptr<Exchange> begin_all_gather(const Parts& parts) {
    return begin_all_gather(parts, "all_gather");
  }
  void all_gather(const Parts& parts) { begin_all_gather(parts)->wait(); }

  // Returns the numbers of all members, by member. Their counts may differ.
  std::vector<std::vector<double>> all_gather(const std::vector<double>& numbers);

  // Sums parts[m] of all members into that of member m: pairwise, in the order of the members
  // (pairwise_sum.h), so the bits depend on nothing else.
  void reduce_scatter(const Parts& parts) { reduce_scatter(parts, "reduce_scatter"); }

  // Sums a whole tensor over all members: each member sums an equal part.
  void all_reduce(const at::Tensor& tensor);

 private:
  Group(Exchanges& exchanges, std::vector<int> ranks, int rank, int id);

  std::unique_ptr<Exchange> begin(const char* operation, const Parts& gives, const Parts& gets);
  std::unique_ptr<Exchange> begin_all_gather(const Parts& parts, const char* operation);
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
