// Values to tuples.

#include "rows.h"
#include "memory.h"
#include "version.h"

extern "C" {
#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/datetime.h"
}

namespace unblock::server {

Rows::Rows(FunctionCallInfo call, Shape shape) {
	InitMaterializedSRF(call, shape == Shape::scalar ? MAT_SRF_USE_EXPECTED_DESC : 0);
	result_ = reinterpret_cast<ReturnSetInfo*>(call->resultinfo);
	if (result_->setDesc->natts > kMostColumns)
		objects_do_not_fit();
	row_context_ = AllocSetContextCreate(CurrentMemoryContext, "pg_unblock row", ALLOCSET_SMALL_SIZES);
}

void Rows::put(Datum value, bool is_null) {
	if (column_ >= result_->setDesc->natts)
		objects_do_not_fit();
	values_[column_] = value;
	nulls_[column_] = is_null;
	++column_;
}

// A value that takes memory of its own.
template <class Make>
void Rows::put_made(Make make) {
	const MemoryContext before = MemoryContextSwitchTo(row_context_);
	const Datum value = make();
	MemoryContextSwitchTo(before);
	put(value, false);
}

void Rows::null() {
	put(0, true);
}
void Rows::boolean(bool value) {
	put(BoolGetDatum(value), false);
}
void Rows::int4(int32 value) {
	put(Int32GetDatum(value), false);
}
void Rows::int8(int64 value) {
	put(Int64GetDatum(value), false);
}
void Rows::float8(double value) {
	put(Float8GetDatum(value), false);
}
void Rows::oid(Oid value) {
	put(ObjectIdGetDatum(value), !OidIsValid(value));
}
void Rows::xid(TransactionId value) {
	put(TransactionIdGetDatum(value), !TransactionIdIsValid(value));
}
void Rows::text(const char* value) {
	text(value == nullptr ? std::string_view() : std::string_view(value));
}
void Rows::text(std::string_view value) {
	if (value.data() == nullptr)
		null();
	else
		put_made([value] {
			return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
		});
}
void Rows::name(std::string_view value) {
	if (value.data() == nullptr)
		null();
	else
		put_made([value] {
			auto* copy = static_cast<NameData*>(palloc0(sizeof(NameData)));
			memcpy(NameStr(*copy), value.data(), std::min<std::size_t>(value.size(), NAMEDATALEN - 1));
			return NameGetDatum(copy);
		});
}
void Rows::time(TimestampTz value) {
	put(TimestampTzGetDatum(value), value == 0);
}
void Rows::interval(core::Micros length) {
	put_made([length] { return interval_datum(length); });
}
void Rows::datum(Datum value) {
	put(value, false);
}

void Rows::int4_array(const int32* values, int count) {
	put_made([values, count] {
		auto* elements = allocate<Datum>(count);
		for (int i = 0; i < count; ++i)
			elements[i] = Int32GetDatum(values[i]);
		return PointerGetDatum(construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	});
}

void Rows::end_row() {
	if (column_ != result_->setDesc->natts)
		objects_do_not_fit();
	tuplestore_putvalues(result_->setResult, result_->setDesc, values_, nulls_);
	column_ = 0;
	MemoryContextReset(row_context_);
	CHECK_FOR_INTERRUPTS();
}

Datum interval_datum(core::Micros length) {
	const Timestamp origin = 0;
	return DirectFunctionCall2(timestamp_mi, TimestampGetDatum(std::max<core::Micros>(length, 0)),
	                           TimestampGetDatum(origin));
}

char* time_text(TimestampTz time) {
	struct pg_tm parts;
	fsec_t fraction;
	char buffer[MAXDATELEN + 1];
	const char* utc = "UTC";
	if (timestamp2tm(time, nullptr, &parts, &fraction, nullptr, nullptr) != 0)
		return pstrdup("");
	int zone = 0;
	parts.tm_isdst = 0;
	EncodeDateTime(&parts, fraction, true, zone, utc, USE_ISO_DATES, buffer);
	return pstrdup(buffer);
}

} // namespace unblock::server
