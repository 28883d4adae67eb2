#include "halfback/schedule/action.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

TEST(ActionTest, RoundTripsEveryKind) {
  for (const char* text :
       {"2F0", "2B1", "0I12", "3W4", "2SEND_F0", "2RECV_F0", "2SEND_B7", "1048575RECV_B1048575",
        "2REDUCE_GRAD", "2U", "2F0.1", "0RECV_B3.65535"}) {
    EXPECT_EQ(to_string(parse_action(text)), text);
  }
}

TEST(ActionTest, FirstSliceIsTheActionWithoutOne) {
  EXPECT_EQ(parse_action("2F0").slice, 0);
  const Action second = parse_action("2I3.1");
  EXPECT_EQ(second, (Action{ActionKind::BackwardInput, 2, 3, 1}));
  EXPECT_EQ(to_string(second.as(ActionKind::BackwardWeight)), "2W3.1");
}

TEST(ActionTest, NamesTheStageOfALoss) {
  const Action input = parse_action("2I3@5");
  EXPECT_EQ(input, (Action{ActionKind::BackwardInput, 2, 3}.with_loss(3)));
  EXPECT_EQ(input.loss, 4);
  EXPECT_EQ(to_string(input.as(ActionKind::SendBackward)), "2SEND_B3@5");
  EXPECT_EQ(to_string(parse_action("0RECV_B1.2@254")), "0RECV_B1.2@254");
  EXPECT_EQ(input.without_loss(), parse_action("2I3"));
}

TEST(ActionTest, RefusesWhatIsNotExactlyOneAction) {
  for (const char* text : {"",
                           "F",
                           "0",
                           "0F",
                           "F0",
                           "0F0x",
                           "x0F0",
                           " 0F0",
                           "0F0 ",
                           "-1F0",
                           "0F-1",
                           "0f0",
                           "0FF0",
                           "0SEND0",
                           "0U0",
                           "0F+1",
                           "1048576F0",
                           "0F1048576",
                           "99999999999999999999F0",
                           "0X0",
                           "0UNSHARD",
                           "0REDUCE_GRAD0",
                           "0F0F0",
                           "0F0.",
                           "0F0.0",
                           "0F0.01",
                           "0F0.65536",
                           "0F.1",
                           "0U.1",
                           "2I3@",
                           "2I3@1",
                           "2I3@257",
                           "2I3@x",
                           "2I3@2.1",
                           "2F3@2",
                           "2B3@2",
                           "2W3@2",
                           "2U@2",
                           "0F0,"}) {
    EXPECT_FALSE(try_parse_action(text)) << text;
  }
}

TEST(ActionTest, ErrorQuotesTheTextAndCutsIt) {
  const std::string text = error_of([] { parse_action(std::string(1000, 'x')); });
  EXPECT_TRUE(has_text(text, "'" + std::string(40, 'x') + "'"));
  EXPECT_TRUE(has_text(text, "as in 2F0"));
}

}  // namespace
}  // namespace halfback
