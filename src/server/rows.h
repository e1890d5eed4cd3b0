// Builds the rows of a set-returning function, value by value.
#pragma once

#include "compat.h"

namespace unblock::server {

// Plain data: an error may pass over it.
class Rows {
public:
	enum class Shape { composite, scalar };

	// Starts a materialized result; raises an error if the caller cannot take one.
	explicit Rows(FunctionCallInfo call, Shape shape = Shape::composite);

	void null();
	void boolean(bool value);
	void int4(int32 value);
	void int8(int64 value);
	void float8(double value);
	void oid(Oid value);                // InvalidOid: null
	void xid(TransactionId value);      // invalid: null
	void text(const char* value);       // nullptr: null
	void text(std::string_view value);  // empty view without data: null
	void name(std::string_view value);  // empty view without data: null
	void time(TimestampTz value);       // 0: null
	void interval(core::Micros length); // negative: zero
	void int4_array(const int32* values, int count);
	void datum(Datum value);

	// Ends the row, with a look at interrupts. All columns must have been given.
	void end_row();

private:
	void put(Datum value, bool is_null);
	template <class Make>
	void put_made(Make make);

	static constexpr int kMostColumns = 48;
	ReturnSetInfo* result_;
	MemoryContext row_context_; // of the values made here, reset after each row
	int column_ = 0;
	Datum values_[kMostColumns] = {};
	bool nulls_[kMostColumns] = {};
};

// An interval as the difference of two time stamps is one.
Datum interval_datum(core::Micros length);

// The time stamp as the server prints it in full, whatever the session's DateStyle and TimeZone say:
// "2026-01-05 10:00:00.123456+00". Palloc'd.
char* time_text(TimestampTz time);

} // namespace unblock::server
