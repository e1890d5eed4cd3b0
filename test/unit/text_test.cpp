// Lengths of time as settings show them.

#include "core/text.h"

#include <gtest/gtest.h>

namespace unblock::core {
namespace {

TEST(ExactDuration, TakesTheLargestUnitThatFits) {
	EXPECT_EQ(exact_duration(0), "0");
	EXPECT_EQ(exact_duration(100'000), "100ms");
	EXPECT_EQ(exact_duration(1500'000), "1500ms");
	EXPECT_EQ(exact_duration(2 * kSecond), "2s");
	EXPECT_EQ(exact_duration(90 * kSecond), "90s");
	EXPECT_EQ(exact_duration(5 * 60 * kSecond), "5min");
	EXPECT_EQ(exact_duration(2 * 3600 * kSecond), "2h");
	EXPECT_EQ(exact_duration(86400 * kSecond), "1d");
	EXPECT_EQ(exact_duration(1), "1us");
}

} // namespace
} // namespace unblock::core
