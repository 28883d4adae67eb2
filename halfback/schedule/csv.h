// Schedules as text: a row per rank, a cell per action. What other tools read as CSV, with comment
// lines in front for what the cells cannot say.
//
//   file    = { comment | header } row { row } { blank }
//   header  = "# halfback schedule" { " " key "=" value }
//             name=WORD  micro_batches=COUNT
//             placement=RANK,RANK,...                     rank of stage 0, 1, ...
//             placement=RANK,RANK,...|RANK,RANK,...       the same for each replica of the weights
//             replicas=REPLICA,REPLICA,...                the one that micro-batch 0, 1, ... passes
//             losses=LOSS,LOSS,...                        of training with local updates
//             weights=sum | mean | furthest               what a stage takes of several (sum)
//   LOSS    = STAGE ":" ( STAGE | "none" )      its own, and the lowest that its gradient reaches
//   comment = "#" any text
//   row     = cell { "," cell }
//   cell    = [ action ]                        an empty cell is skipped
//           | "(" action { ";" action } ")OVERLAP_F_B"
//   action  = STAGE letters MICRO_BATCH | STAGE "REDUCE_GRAD" | STAGE "U"
//   letters = F | I | W | B | SEND_F | RECV_F | SEND_B | RECV_B
//
// Files of PyTorch's pipelining have no header: a stage belongs to the rank that computes it, and
// there is one micro-batch more than the largest index. Their cells UNSHARD and RESHARD speak of
// sharded weights and are skipped, and so is REDUCE_GRAD over one copy of the weights, where it is
// PyTorch's place to scale gradients; with replicas it is their sum, and kept. The actions of an
// OVERLAP_F_B cell run one after the other, as PyTorch runs them where nobody says how they
// overlap. White space around cells, "\r\n" and blank last lines are allowed; nothing else is.
#pragma once

#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace halfback {

// What a text may hold; beyond, it is refused before memory is taken.
inline constexpr std::size_t kMaxCsvBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMaxCsvCellsPerRow = std::size_t{1} << 24;

enum class CsvDialect {
  Halfback,  // with the header
  Torch,     // PyTorch's: no header; with messages also REDUCE_GRAD at the end of each stage
};

// Reads a schedule. Ranks, stages and micro-batches of all actions exist in it, but whether it runs
// is for validate() to say. Throws ScheduleError with source_name, line, column, the line around it
// and a caret. Linear in the text.
Schedule parse_schedule(std::string_view text, std::string_view source_name);

// Returns the text of a file. Throws FileError when it cannot be read, or is longer than
// parse_schedule() takes.
std::string read_schedule_text(const std::filesystem::path& path);

// Reads a file, as parse_schedule. Throws FileError when it cannot be read.
Schedule load_schedule(const std::filesystem::path& path);

// Writes a schedule so that parse_schedule gives it back: with the header exactly, but for
// characters of the name that a WORD does not have. Throws ConfigError for what the dialect cannot
// say: U, replicas and losses of other stages than the last in PyTorch's.
std::string to_csv(const Schedule& schedule, CsvDialect dialect = CsvDialect::Halfback);

}  // namespace halfback
