// The colors of actions in drawings: Paul Tol's muted scheme, which color-blind people can
// distinguish.
#pragma once

#include "halfback/schedule/action.h"

#include <string_view>

namespace halfback {

constexpr std::string_view color_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::Forward:
      return "#5b8fd6";
    case ActionKind::Backward:
      return "#cc6677";
    case ActionKind::BackwardInput:
      return "#44aa99";
    case ActionKind::BackwardWeight:
      return "#ddcc77";
    case ActionKind::ReduceGradient:
      return "#999933";
    case ActionKind::Update:
      return "#aa4499";
    default:
      return "#999999";
  }
}

}  // namespace halfback
