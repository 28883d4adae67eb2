#include "halfback/timeline/report/svg.h"

#include "halfback/schedule/action.h"
#include "halfback/timeline/report/colors.h"
#include "halfback/timeline/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

namespace halfback {

namespace {

constexpr int kRowHeight = 26;
constexpr int kReductionHeight = 12;  // of the lane below each rank, if there are reductions
constexpr int kLeft = 60;
constexpr int kTop = 34;
constexpr int kBottom = 34;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// Returns the index of each stage among its rank's stages, in model order: later ones are drawn
// lighter.
std::map<std::pair<int, int>, int> chunks_of(const Timeline& timeline) {
  std::map<std::pair<int, int>, int> chunks;  // by rank and stage
  for (const Span& span : timeline.spans) {
    chunks[{span.rank, span.action.stage}] = 0;
  }
  int rank = -1;
  int next = 0;
  for (auto& [key, chunk] : chunks) {
    next = key.first == rank ? next + 1 : 0;
    rank = key.first;
    chunk = next;
  }
  return chunks;
}

class Drawing {
 public:
  Drawing(const Timeline& timeline, int width)
      : timeline_(timeline), width_(width), chunks_(chunks_of(timeline)) {
    double end = 0.0;
    for (const Span& span : timeline.spans) {
      begin_ = std::min(begin_, span.start_seconds);
      end = std::max(end, span.end_seconds);
    }
    scale_ = end > begin_ ? (width - kLeft - 10) / (end - begin_) : 0.0;
    const bool reduces = std::any_of(timeline.spans.begin(), timeline.spans.end(), is_reduction);
    row_height_ = kRowHeight + (reduces ? kReductionHeight : 0);
  }

  std::string draw(const std::string& title) {
    const int height = kTop + row_height_ * timeline_.num_ranks + kBottom;
    print(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
        "height=\"{1}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n",
        width_, height);
    print("<rect width=\"{}\" height=\"{}\" fill=\"#ffffff\"/>\n", width_, height);
    print("<text x=\"{}\" y=\"20\" font-size=\"14\">{}</text>\n", kLeft, escaped(title));
    for (int rank = 0; rank < timeline_.num_ranks; ++rank) {
      print("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">rank {}</text>\n", kLeft - 8,
            y_of(rank) + 17, rank);
      print("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#f1f1f1\"/>\n", kLeft,
            y_of(rank) + 2, width_ - kLeft - 10, kRowHeight - 4);
    }
    for (const Span& span : timeline_.spans) {
      draw_span(span);
    }
    draw_legend(height);
    return text_ + "</svg>\n";
  }

 private:
  // Only reductions that take time are drawn.
  static bool is_reduction(const Span& span) {
    return span.action.kind == ActionKind::ReduceGradient && span.end_seconds > span.start_seconds;
  }

  int y_of(int rank) const { return kTop + rank * row_height_; }

  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  void draw_span(const Span& span) {
    const Action& action = span.action;
    const double x = kLeft + (span.start_seconds - begin_) * scale_;
    const double length = (span.end_seconds - span.start_seconds) * scale_;
    const int y = y_of(span.rank) + (is_reduction(span) ? kRowHeight : 2);
    if (is_message(action.kind) || length <= 0.0) {
      return;
    }
    const int chunk = chunks_.at({span.rank, action.stage});
    print(
        "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\" "
        "fill-opacity=\"{:.2f}\" stroke=\"#ffffff\" "
        "stroke-width=\"0.5\"><title>{}</title></rect>\n",
        x, y, length, is_reduction(span) ? kReductionHeight - 2 : kRowHeight - 4,
        color_of(action.kind), std::max(0.45, 1.0 - 0.3 * chunk), to_string(action));
    const std::string number = std::to_string(action.micro_batch);
    if (has_micro_batch(action.kind) && length >= 7.0 * static_cast<double>(number.size()) + 2) {
      print("<text x=\"{:.2f}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\">{}</text>\n",
            x + length / 2, y + 15, number);
    }
  }

  void draw_legend(int height) {
    const Statistics numbers = statistics(timeline_);
    int x = kLeft;
    for (const ActionKind kind :
         {ActionKind::Forward, ActionKind::Backward, ActionKind::BackwardInput,
          ActionKind::BackwardWeight, ActionKind::Update, ActionKind::ReduceGradient}) {
      const bool appears =
          std::any_of(timeline_.spans.begin(), timeline_.spans.end(), [kind](const Span& span) {
            return span.action.kind == kind && span.end_seconds > span.start_seconds;
          });
      if (appears) {
        print(
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/>"
            "<text x=\"{}\" y=\"{}\">{}</text>\n",
            x, height - 22, color_of(kind), x + 17, height - 12, letters(kind));
        x += 44;
      }
    }
    print(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">makespan {:.6g}, bubble fraction "
        "{:.3f}</text>\n",
        width_ - 10, height - 12, numbers.makespan_seconds, numbers.bubble_fraction);
  }

  const Timeline& timeline_;
  int width_;
  std::map<std::pair<int, int>, int> chunks_;
  double begin_ = 0.0;
  double scale_ = 0.0;
  int row_height_ = kRowHeight;
  std::string text_;
};

}  // namespace

std::string to_svg(const Timeline& timeline, const std::string& title, int width) {
  return Drawing(timeline, width).draw(title);
}

}  // namespace halfback
