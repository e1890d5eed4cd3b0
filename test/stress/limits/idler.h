// A session that idles in its transactions for about as long as it may, and a
// session that waits for others' locks.
#pragma once

#include "client.h"
#include "contended.h"
#include "correction.h"
#include "notes.h"

namespace unblock::stress {

// What all sessions of a run share.
struct Run {
	Notes notes{kObjects};
	Micros contended_from = 0; // locks are private before
	Micros until = 0;          // no transaction begins afterwards
	// Of those who want to go on right at a limit, by rule.
	Correction idle_correction{kMillisecond, -200 * kMillisecond, 50 * kMillisecond};
	Correction blocker_correction = idle_correction;

	bool is_over() const { return now() >= until; }
	bool is_contended() const { return now() >= contended_from && !is_over(); }
};

// Where a session notes its waits: one statement at a time.
class NotedWait {
public:
	void begin(Notes& notes, Want want) { wait_ = &notes.add_wait(want.object, want.exclusive, now()); }
	void end(const Answer& answer, Micros seen);

private:
	Wait* wait_ = nullptr;
};

// Its first statement and its last one, for the server's clock before and after the lock is taken.
std::string noted(Want want);

class Idler : public Client {
public:
	// `number` is for what nobody else wants.
	Idler(Run& run, const Role& role, int number, std::uint64_t seed);

	bool is_at_rest() const { return !is_busy() && step_ == Step::between && run_.is_over(); }

private:
	// What the last message was.
	enum class Step { between, take, go_on, commit };

	void opened() override;
	void answered(const Answer& answer) override;
	void told(const std::string& notice) override;
	void timed() override;
	void lost(const Answer& answer, Micros seen, const std::string& why) override;

	void begin();
	void go_on();
	void plan();
	Micros around_limit(Micros limit, Correction* correction);
	void learn(bool late);
	Micros collected() const;
	std::string take(Want want);

	Run& run_;
	const Role& role_;
	int number_;
	Dice dice_;
	Life* life_ = nullptr;
	Step step_ = Step::between;
	Transaction* transaction_ = nullptr;
	NotedWait wait_;
	std::optional<Want> taking_; // with this message
	bool counts_blocking_ = false;
	int spells_left_ = 0;
	Micros target_ = 0;                // go on when so much has been collected
	Micros idle_until_ = 0;            // … or then
	Correction* correction_ = nullptr; // of what it wants to do now, if right at a limit
};

class Waiter : public Client {
public:
	Waiter(Run& run, std::uint64_t seed);

	bool is_at_rest() const { return !is_busy() && run_.is_over(); }

private:
	void opened() override;
	void answered(const Answer& answer) override;
	void timed() override;
	void lost(const Answer& answer, Micros seen, const std::string& why) override;

	Run& run_;
	Dice dice_;
	NotedWait wait_;
};

} // namespace unblock::stress
