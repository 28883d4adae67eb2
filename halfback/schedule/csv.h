// Schedules as text: one row per rank, one cell per action. Other tools read it as CSV; comment
// lines in front hold what cells cannot express.
//
//   file    = { comment | header } row { row } { blank }
//   header  = "# halfback schedule" { " " key "=" value }
//             name=WORD  micro_batches=COUNT
//             placement=RANK,RANK,...                     rank of stage 0, 1, ...
//             placement=RANK,RANK,...|RANK,RANK,...       the same for each replica of the weights
//             replicas=REPLICA,REPLICA,...                replica of micro-batch 0, 1, ...
//             losses=LOSS,LOSS,...                        for training with local updates
//             weights=sum | mean | furthest               gradient that a stage takes (sum)
//   LOSS    = STAGE ":" ( STAGE | "none" )      its own, and the lowest that its gradient reaches
//   comment = "#" any text
//   row     = cell { "," cell }
//   cell    = [ action ]                        an empty cell is skipped
//           | "(" action { ";" action } ")OVERLAP_F_B"
//   action  = STAGE letters MICRO_BATCH [ "@" LOSS_STAGE ] | STAGE "REDUCE_GRAD" | STAGE "U"
//   letters = F | I | W | B | SEND_F | RECV_F | SEND_B | RECV_B
//
// Files of PyTorch's pipelining have no header: a stage belongs to the rank that computes it, and
// the number of micro-batches is the largest index plus one. Their cells UNSHARD and RESHARD are
// for sharded weights and are skipped. So is REDUCE_GRAD with one replica of the weights, where
// PyTorch scales gradients; with several replicas it means their sum, and is kept. The actions of
// an OVERLAP_F_B cell run one after the other, as in PyTorch by default. White space around cells,
// "\r\n" and blank last lines are allowed; nothing else is.
#pragma once

#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace halfback {

// The largest text that is accepted. A larger one is refused before memory is allocated.
inline constexpr std::size_t kMaxCsvBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMaxCsvCellsPerRow = std::size_t{1} << 24;

enum class CsvDialect {
  Halfback,  // with the header
  Torch,     // PyTorch's: no header; with messages also REDUCE_GRAD at the end of each stage
};

// Reads a schedule. Checks that the ranks, stages and micro-batches of all actions exist;
// validate() checks that the schedule runs. Throws ScheduleError with source_name, line, column, an
// excerpt of the line and a caret. Linear in the text.
Schedule parse_schedule(std::string_view text, std::string_view source_name);

// Returns the text of a file. Throws FileError when it cannot be read, or is longer than
// parse_schedule() takes.
std::string read_schedule_text(const std::filesystem::path& path);

// Reads a file, as parse_schedule. Throws FileError when it cannot be read.
Schedule load_schedule(const std::filesystem::path& path);

// Writes a schedule so that parse_schedule() returns the same; with the header exactly, except for
// characters of the name that a WORD does not allow. Throws ConfigError for what PyTorch's dialect
// cannot express: U, replicas, and losses of stages other than the last.
std::string to_csv(const Schedule& schedule, CsvDialect dialect = CsvDialect::Halfback);

}  // namespace halfback
