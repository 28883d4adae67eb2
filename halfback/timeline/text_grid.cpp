#include "halfback/timeline/text_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace halfback {

namespace {

using RankSpans = std::vector<std::vector<const Span*>>;  // by rank, in order of time

struct Extent {
  double start = 0.0;
  double end = 0.0;
  double shortest = 0.0;  // duration of a span, not counting 0
};

// Returns the spans that take time and whose kind fits.
RankSpans spans_by_rank(const Timeline& timeline, bool (*fits)(ActionKind)) {
  RankSpans result(static_cast<std::size_t>(timeline.num_ranks));
  for (const Span& span : timeline.spans) {
    if (fits(span.action.kind) && span.end_seconds > span.start_seconds) {
      result[static_cast<std::size_t>(span.rank)].push_back(&span);
    }
  }
  for (auto& spans : result) {
    std::stable_sort(spans.begin(), spans.end(), [](const Span* a, const Span* b) {
      return a->start_seconds < b->start_seconds;
    });
  }
  return result;
}

// What is drawn: the work of each rank and, below it, its reductions.
struct Rows {
  explicit Rows(const Timeline& timeline)
      : work(spans_by_rank(timeline, is_work)),
        reductions(spans_by_rank(
            timeline, [](ActionKind kind) { return kind == ActionKind::ReduceGradient; })) {}

  RankSpans work;
  RankSpans reductions;
};

// Widens the extent to include the spans; `is_first` is true until the first span.
void include(const RankSpans& ranks, bool& is_first, Extent& extent) {
  for (const auto& spans : ranks) {
    for (const Span* span : spans) {
      const double duration = span->end_seconds - span->start_seconds;
      extent.start = is_first ? span->start_seconds : std::min(extent.start, span->start_seconds);
      extent.end = is_first ? span->end_seconds : std::max(extent.end, span->end_seconds);
      extent.shortest = is_first ? duration : std::min(extent.shortest, duration);
      is_first = false;
    }
  }
}

Extent extent_of(const Rows& rows) {
  Extent extent;
  bool is_first = true;
  include(rows.work, is_first, extent);
  include(rows.reductions, is_first, extent);
  return extent;
}

// The number of columns, and the time of each.
struct Columns {
  int count = 0;
  double seconds = 1.0;
};

constexpr int kMostColumns = 1 << 20;

Columns columns_for(const Extent& extent, double unit_seconds) {
  const double length = extent.end - extent.start;
  Columns columns{0, unit_seconds > 0.0 ? unit_seconds : extent.shortest};
  if (length > 0.0) {
    // Slightly less than the quotient, so that rounding of times adds no column.
    const double count = std::ceil(length / columns.seconds - 1e-6);
    columns.count = static_cast<int>(std::clamp(count, 1.0, double{kMostColumns}));
  }
  return columns;
}

// Returns the span that runs at each column's middle, or null.
std::vector<const Span*> sample(const std::vector<const Span*>& spans,
                                const Extent& extent,
                                Columns columns) {
  std::vector<const Span*> cells(static_cast<std::size_t>(columns.count), nullptr);
  std::size_t next = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const double middle = extent.start + (static_cast<double>(i) + 0.5) * columns.seconds;
    while (next < spans.size() && spans[next]->end_seconds <= middle) {
      ++next;
    }
    if (next < spans.size() && spans[next]->start_seconds <= middle) {
      cells[i] = spans[next];
    }
  }
  return cells;
}

std::string row_label(int rank, int num_ranks) {
  const std::size_t width = fmt::format("{}", num_ranks - 1).size();
  return fmt::format("rank {:<{}}  ", rank, width);
}

bool holds_several_stages(const std::vector<const Span*>& spans) {
  return std::any_of(spans.begin(), spans.end(), [&](const Span* span) {
    return span->action.stage != spans.front()->action.stage;
  });
}

// Adds the line of a rank, and one for its reductions if the columns show any.
void append_lines(const std::string& label,
                  const std::string& work,
                  std::string reductions,
                  std::string& text) {
  text += label + work + '\n';
  std::replace(reductions.begin(), reductions.end(), '.', ' ');
  const std::size_t length = reductions.find_last_not_of(' ') + 1;
  if (length > 0) {
    text += std::string(label.size(), ' ') + reductions.substr(0, length) + '\n';
  }
}

std::string letters_of(const std::vector<const Span*>& cells) {
  std::string line;
  for (const Span* span : cells) {
    line += span == nullptr ? '.' : traits_of(span->action.kind).cell;
  }
  return line;
}

// Numbered cells, all of one width.
class NumberedCells {
 public:
  explicit NumberedCells(const Rows& rows) {
    for (const auto& spans : rows.work) {
      with_stage_ = with_stage_ || holds_several_stages(spans);
    }
    for (const RankSpans* ranks : {&rows.work, &rows.reductions}) {
      for (const auto& spans : *ranks) {
        for (const Span* span : spans) {
          width_ = std::max(width_, cell_text(span->action).size());
        }
      }
    }
  }

  std::size_t cell_width() const { return width_ + 1; }

  std::string line(const std::vector<const Span*>& cells) const {
    std::string line;
    const Span* previous = nullptr;
    for (const Span* span : cells) {
      const std::string text = span == nullptr    ? "."
                               : span == previous ? "--"
                                                  : cell_text(span->action);
      line += fmt::format("{:<{}}", text, cell_width());
      previous = span;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
  }

 private:
  std::string cell_text(const Action& action) const {
    if (action.kind == ActionKind::ReduceGradient) {
      return fmt::format("{}r", action.stage);
    }
    if (with_stage_ || action.kind == ActionKind::Update) {
      return to_string(action);
    }
    return fmt::format("{}{}", letters(action.kind), action.micro_batch);
  }

  bool with_stage_ = false;
  std::size_t width_ = 2;
};

int columns_that_fit(const TextGridOptions& options, int num_ranks, std::size_t cell_width) {
  const auto label = row_label(0, num_ranks).size();
  const auto width = static_cast<std::size_t>(std::max(options.width, 0));
  return width > label + cell_width ? static_cast<int>((width - label) / cell_width) : 1;
}

}  // namespace

std::string draw_timeline(const Timeline& timeline, const TextGridOptions& options) {
  const Rows rows(timeline);
  const Extent extent = extent_of(rows);
  Columns columns = columns_for(extent, options.unit_seconds);
  const int fitting = columns_that_fit(options, timeline.num_ranks, 1);
  const bool is_scaled = columns.count > fitting;
  if (is_scaled) {
    columns = {fitting, (extent.end - extent.start) / fitting};
  }
  std::string text;
  for (int rank = 0; rank < timeline.num_ranks; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    append_lines(row_label(rank, timeline.num_ranks),
                 letters_of(sample(rows.work[at], extent, columns)),
                 letters_of(sample(rows.reductions[at], extent, columns)), text);
  }
  if (is_scaled) {
    text += fmt::format("(scaled to fit: a column is {:.4g} of {:.4g} time units)\n",
                        columns.seconds, extent.end - extent.start);
  }
  return text;
}

std::string draw_numbered_timeline(const Timeline& timeline, const TextGridOptions& options) {
  const Rows rows(timeline);
  const Extent extent = extent_of(rows);
  Columns columns = columns_for(extent, options.unit_seconds);
  const int num_columns = columns.count;
  const NumberedCells cells(rows);
  columns.count =
      std::min(num_columns, columns_that_fit(options, timeline.num_ranks, cells.cell_width()));
  std::string text;
  for (int rank = 0; rank < timeline.num_ranks; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    append_lines(row_label(rank, timeline.num_ranks),
                 cells.line(sample(rows.work[at], extent, columns)),
                 cells.line(sample(rows.reductions[at], extent, columns)), text);
  }
  if (columns.count < num_columns) {
    text += fmt::format("(cut after {} of {} columns)\n", columns.count, num_columns);
  }
  return text;
}

}  // namespace halfback
