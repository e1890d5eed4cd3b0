// Random work around the limits.

#include "idler.h"

#include <algorithm>
#include <stdexcept>

namespace unblock::stress {

namespace {

// The server sends a notice at once, while the statement goes on.
constexpr const char* kBegun = "begun at ";

std::string clock_as(const char* column) {
	return std::string("SELECT ") + kServerClock + " AS " + column;
}

} // namespace

std::string noted(Want want) {
	return clock_as("waits_from") + "; " + lock_statement(want) + "; " + clock_as("waits_to") + "; ";
}

void NotedWait::end(const Answer& answer, Micros seen) {
	if (wait_ == nullptr)
		return;
	if (answer.has("waits_from"))
		wait_->begin = answer.moment("waits_from");
	wait_->end = answer.has("waits_to") ? answer.moment("waits_to") : seen;
	wait_ = nullptr;
}

// --- Idler -------------------------------------------------------------------------------------------

Idler::Idler(Run& run, const Role& role, int number, std::uint64_t seed)
    : run_(run), role_(role), number_(number), dice_(seed) {
	open(role.name);
}

void Idler::opened() {
	life_ = &run_.notes.add(Life{.role = &role_, .pid = pid()});
	step_ = Step::between;
	wait_until(now());
}

void Idler::timed() {
	if (step_ == Step::between) {
		if (!run_.is_over())
			begin();
		return;
	}
	const Micros missing = counts_blocking_ ? target_ - collected() : 0;
	if (missing > 0 && now() < idle_until_ && !run_.is_over()) {
		wait_until(std::min(now() + std::max(missing, kMillisecond), idle_until_));
		return;
	}
	if (missing > 0 || run_.is_over())
		correction_ = nullptr;
	go_on();
}

void Idler::begin() {
	const Micros roll = dice_.between(0, 99);
	spells_left_ = roll < 60 ? 1 : roll < 85 ? 2 : 3;
	counts_blocking_ = run_.is_contended() && role_.idle_blocker != 0 && !role_.exempt &&
	                   (role_.idle_in_transaction == 0 || dice_.chance(0.7));
	step_ = Step::take;
	const std::string lock =
	    run_.is_contended() ? take(choose(dice_)) : private_lock_statement(number_) + "; ";
	send("BEGIN; " + lock + clock_as("clock") + ", now()::text AS xact_start");
}

std::string Idler::take(Want want) {
	taking_ = want;
	wait_.begin(run_.notes, want);
	return noted(want);
}

void Idler::go_on() {
	std::string message = "SELECT begun(); ";
	// Work that began before the limit may last beyond it.
	if (dice_.chance(0.3))
		message += "SELECT pg_sleep(" + std::to_string(dice_.between(5, 120)) + " * 0.001); ";
	const bool last = spells_left_ == 0 || run_.is_over();
	step_ = last ? Step::commit : Step::go_on;
	if (!last && run_.is_contended() && dice_.chance(0.15)) {
		const int next = transaction_->holdings.empty() ? 0 : transaction_->holdings.back().object + 1;
		if (next < kObjects)
			message += take(choose(dice_, next));
	}
	send(message + (last ? "COMMIT" : clock_as("clock")));
}

void Idler::told(const std::string& notice) {
	if (!notice.starts_with(kBegun) || transaction_ == nullptr)
		return;
	Spell& spell = transaction_->spells.back();
	spell.end = std::stoll(notice.substr(std::string(kBegun).size()));
	spell.by_server = true;
}

void Idler::answered(const Answer& answer) {
	if (!answer.error.empty())
		throw std::runtime_error(std::string(role_.name) + ": " + answer.error);
	wait_.end(answer, now());
	if (transaction_ != nullptr) {
		transaction_->spells.back().answered = true;
		learn(false);
	}
	if (step_ == Step::commit) {
		if (!answer.has_tag("COMMIT"))
			throw std::runtime_error("COMMIT had no answer");
		transaction_ = nullptr;
		step_ = Step::between;
		wait_until(now() + dice_.between(0, 20 * kMillisecond));
		return;
	}
	if (step_ == Step::take)
		transaction_ = &run_.notes.add(Transaction{life_, answer.text("xact_start"), {}, {}});
	if (taking_)
		transaction_->holdings.push_back({taking_->object, taking_->exclusive, sent_at()});
	taking_.reset();
	transaction_->spells.push_back({});
	transaction_->spells.back().begin = answer.moment("clock");
	--spells_left_;
	plan();
}

// For how long to idle now, or how much blocking idle time to collect.
void Idler::plan() {
	const bool last = spells_left_ == 0;
	const Micros since = transaction_->spells.back().begin;
	const Micros limit = role_.idle_in_transaction != 0 ? role_.idle_in_transaction : role_.idle_blocker;
	if (role_.exempt) {
		idle_until_ = since + dice_.between(0, 3 * limit);
	} else if (!counts_blocking_) {
		Correction* correction = role_.idle_in_transaction != 0 ? &run_.idle_correction : nullptr;
		const bool risks = last || dice_.chance(0.4);
		idle_until_ = since + (risks ? around_limit(limit, correction) : dice_.between(0, limit / 2));
	} else {
		const Micros has = collected();
		const Micros left = std::max<Micros>(role_.idle_blocker - has, 0);
		target_ = last ? around_limit(role_.idle_blocker, &run_.blocker_correction)
		               : has + dice_.between(0, left / 2);
		// Not too long where nobody comes to wait, and not so long that the other limit is broken first.
		idle_until_ = since + (role_.idle_in_transaction != 0 ? limit * 9 / 10 : 2 * limit);
		wait_until(std::min(now() + std::max<Micros>(target_ - has, 0), idle_until_));
		return;
	}
	wait_until(idle_until_);
}

// From far below the limit to far above, half of it right around.
Micros Idler::around_limit(Micros limit, Correction* correction) {
	const Micros roll = dice_.between(0, 99);
	if (roll < 25)
		return dice_.between(0, limit * 85 / 100);
	if (roll >= 80)
		return limit + dice_.between(40 * kMillisecond, 300 * kMillisecond);
	correction_ = correction;
	return dice_.around(limit + (correction == nullptr ? 0 : correction->value()), 40 * kMillisecond);
}

void Idler::learn(bool late) {
	if (correction_ != nullptr)
		correction_->learn(late);
	correction_ = nullptr;
}

Micros Idler::collected() const {
	return sum_of(run_.notes.blocking_idle(*transaction_, now()));
}

void Idler::lost(const Answer& answer, Micros seen, const std::string& why) {
	wait_.end(answer, seen);
	if (life_ == nullptr)
		throw std::runtime_error("a session was lost at its start: " + why);
	life_->ended = seen;
	life_->why = why;
	learn(true);
	if (transaction_ != nullptr && !transaction_->spells.back().by_server)
		transaction_->spells.back().end = seen;
	life_ = nullptr;
	transaction_ = nullptr;
	taking_.reset();
	step_ = Step::between;
	if (!run_.is_over())
		open(role_.name);
}

// --- Waiter ------------------------------------------------------------------------------------------

Waiter::Waiter(Run& run, std::uint64_t seed) : run_(run), dice_(seed) {
	open(kWaiter.name);
}

void Waiter::opened() {
	wait_until(run_.contended_from + dice_.between(0, 200 * kMillisecond));
}

// Without a BEGIN the statements of one message are a transaction of their own.
void Waiter::timed() {
	if (run_.is_over())
		return;
	const Want want = choose(dice_);
	// Some give up early, so that blockers have times in which nobody waits for them.
	const Micros patience = dice_.chance(0.6) ? dice_.between(20, 900) : 0;
	wait_.begin(run_.notes, want);
	send("SET LOCAL lock_timeout = " + std::to_string(patience) + "; " + noted(want));
}

void Waiter::answered(const Answer& answer) {
	constexpr const char* lock_not_available = "55P03";
	if (!answer.error.empty() && answer.sqlstate != lock_not_available)
		throw std::runtime_error(std::string(kWaiter.name) + ": " + answer.error);
	wait_.end(answer, now());
	wait_until(now() + dice_.between(0, 200 * kMillisecond));
}

void Waiter::lost(const Answer&, Micros, const std::string& why) {
	throw std::runtime_error(std::string("a ") + kWaiter.name + " was lost: " + why);
}

} // namespace unblock::stress
