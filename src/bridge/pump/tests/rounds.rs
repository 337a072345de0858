use super::Step::{Ack, Lost, NextRound, Offers, Push, Refuse, Refusing, Up, UpBy};
use super::*;

#[test]
fn what_can_never_get_better_is_a_dead_letter_at_once_and_the_rest_holds_the_line() {
    for (code, want) in [
        (0x90, Refusal::Settled),
        (0x95, Refusal::Settled),
        (0x99, Refusal::Settled),
        (0x80, Refusal::Hold),
        (0x83, Refusal::Hold),
        (0x87, Refusal::Hold),
        (0x91, Refusal::Hold),
        (0x97, Refusal::Hold),
    ] {
        let mut pump = Pump::new(WINDOW, TIMEOUT);
        pump.up(TERMS);
        pump.push(parcel(1, 1));
        pump.push(parcel(2, 1));
        pump.offered(Token { generation: 1, number: 0 }, 1, Mono::ZERO);
        assert_eq!(pump.refused(Token { generation: 1, number: 0 }, &refusal(code)), want, "{code:#x}");
        let settled = pump.take_settled();
        let dead =
            |s: &&Settled| matches!(&s.outcome, Outcome::DeadLetter { code: Some(c), cause } if *c == code && cause.contains("refused"));
        assert_eq!(settled.iter().filter(dead).count(), usize::from(want == Refusal::Settled), "{code:#x}");
        assert_eq!(pump.room(1), usize::from(want == Refusal::Settled), "{code:#x}");
        assert_eq!(pump.refused(Token { generation: 1, number: 0 }, &refusal(code)), Refusal::Settled, "{code:#x}: answered twice");
        assert_eq!((pump.in_flight(), pump.take_settled()), (0, Vec::new()), "{code:#x}");
    }
}

#[test]
fn a_refused_entry_goes_again_before_any_that_was_not_tried() {
    let refused_first = [Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Refuse(1, 0x97), Offers(&[]), Ack(2), Ack(3), Offers(&[]), Ack(4)];
    let again = [NextRound(true), Offers(&[1, 5]), Ack(1), Offers(&[6, 7, 8]), Step::Settled(&[2, 3, 4, 1], &[])];
    check("the rest of the window passes", &[&refused_first[..], &again[..]].concat());
    let all = [Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Refuse(1, 0x97), Refuse(2, 0x97), Refuse(4, 0x97), Refuse(3, 0x97), NextRound(false)];
    // 5 is the witness.
    let pass = [Offers(&[1, 2, 3, 4]), Ack(1), Offers(&[5]), Ack(2), Ack(3), Ack(4), Offers(&[6, 7, 8]), Step::Settled(&[1, 2, 3, 4], &[])];
    check("all of it is refused", &[&all[..], &pass[..]].concat());
}

#[test]
fn an_entry_is_given_up_after_three_refusals_while_others_pass() {
    let first = [Push(1, 9), Up, Offers(&[1, 2, 3, 4]), Ack(1), Offers(&[5]), Refuse(2, 0x87), Ack(3), Ack(4), Ack(5), NextRound(true)];
    let second = [Offers(&[2, 6]), Refuse(2, 0x87), Ack(6), NextRound(true)];
    // The witness passes before the refusal comes: that counts as well.
    let third = [Offers(&[2, 7]), Ack(7), Refuse(2, 0x87), Step::Settled(&[1, 3, 4, 5, 6, 7], &[])];
    let thrice = [&first[..], &second[..], &third[..]].concat();
    check("the third", &[&thrice[..], &[NextRound(true), Step::Settled(&[], &[2]), Offers(&[8, 9])][..]].concat());
    let reconnected = [Lost, Up, Offers(&[2, 8]), Refuse(2, 0x87), Ack(8), NextRound(true), Step::Settled(&[8], &[2]), Offers(&[9])];
    check("a lost connection takes its round along", &[&thrice[..], &reconnected[..]].concat());
    let next = [NextRound(true), Step::Settled(&[], &[2]), Offers(&[8, 9]), Refuse(8, 0x87), Ack(9), NextRound(true), Offers(&[8]), Ack(8)];
    check("the next one is counted anew", &[&thrice[..], &next[..], &[Step::Settled(&[9, 8], &[])][..]].concat());
}

#[test]
fn with_a_window_of_one_the_witness_goes_when_the_refusal_is_there() {
    let round = [Offers(&[1]), Refuse(1, 0x87)];
    let witness = [NextRound(false), Offers(&[1]), Refuse(1, 0x87), Offers(&[2]), Ack(2), NextRound(true), Offers(&[1])];
    check("a witness passes", &[&[Push(1, 3), UpBy(1, 100)][..], &round[..], &witness[..]].concat());
}

#[test]
fn nothing_is_given_up_where_nothing_passes() {
    let rounds = [Offers(&[1]), Refuse(1, 0x80), NextRound(false), Step::Settled(&[], &[])].repeat(20);
    check("alone", &[&[Push(1, 1), Up][..], &rounds[..], &[Refusing(true), Offers(&[1]), Ack(1), Refusing(false)][..]].concat());
    let all = [Offers(&[1, 2]), Refuse(2, 0x83), Refuse(1, 0x97), NextRound(false), Step::Settled(&[], &[])].repeat(20);
    check("all", &[&[Push(1, 2), Up][..], &all[..], &[Refusing(true)][..]].concat());
    let before = [Push(1, 2), Up, Offers(&[1, 2]), Ack(1), Refuse(2, 0x97), NextRound(false)];
    let after = [Offers(&[2]), Refuse(2, 0x97), NextRound(false)].repeat(20);
    check("what passed before the first refusal", &[&before[..], &after[..], &[Step::Settled(&[1], &[])][..]].concat());
}

#[test]
fn a_refused_entry_that_waits_has_no_deadline_and_those_in_flight_do() {
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    pump.up(TERMS);
    (1..=2).for_each(|n| pump.push(parcel(n, 1)));
    let token = |number| Token { generation: 1, number };
    pump.offered(token(0), 1, Mono::from_millis(10));
    pump.offered(token(1), 1, Mono::from_millis(20));
    pump.refused(token(0), &refusal(0x97));
    assert_eq!((pump.deadline(), pump.round_over()), (Some(Mono::from_millis(30_020)), false));
    pump.refused(token(1), &refusal(0x97));
    assert_eq!((pump.deadline(), pump.round_over(), pump.has_grudges()), (None, true, true));
}

#[test]
fn the_upstreams_terms_narrow_the_window_and_set_larger_entries_aside() {
    check("window", &[Push(1, 9), UpBy(2, 10), Offers(&[1, 2]), Ack(1), Offers(&[3]), Lost, Up, Offers(&[2, 3, 4, 5])]);
    check("a receive maximum beyond the site's window", &[Push(1, 9), UpBy(65_535, 10), Offers(&[1, 2, 3, 4])]);
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    pump.push(parcel(1, 101));
    pump.push(parcel(2, 100));
    pump.up(Terms { packet_max: 100, ..TERMS });
    pump.push(parcel(3, 101));
    let settled = pump.take_settled();
    assert_eq!(settled.iter().map(|s| s.id.counter()).collect::<Vec<_>>(), [1, 3]);
    let words = "101 bytes is larger than the 100";
    let dead = |s: &Settled| matches!(&s.outcome, Outcome::DeadLetter { code: Some(0x95), cause } if cause.contains(words));
    assert!(settled.iter().all(dead), "{settled:?}");
    assert_eq!(next_to_offer(&pump), Some(2));
}

#[test]
fn what_expires_before_it_is_offered_is_not_sent() {
    let mut pump = Pump::new(WINDOW, TIMEOUT);
    pump.up(TERMS);
    for (n, expires) in [(1, Some(50)), (2, Some(100)), (3, None)] {
        pump.push(Parcel { expires: expires.map(Mono::from_millis), ..parcel(n, 1) });
    }
    pump.drop_expired(3, Mono::from_millis(49));
    assert_eq!((pump.take_settled(), next_to_offer(&pump)), (Vec::new(), Some(1)));
    pump.drop_expired(3, Mono::from_millis(50));
    assert_eq!(pump.take_settled(), [Settled { id: id(1), outcome: Outcome::Expired }]);
    pump.offered(Token { generation: 1, number: 0 }, 1, Mono::from_millis(60));
    pump.drop_expired(3, Mono::from_millis(200));
    assert_eq!((pump.take_settled(), next_to_offer(&pump)), (Vec::new(), Some(3)), "in flight, it is answered");
    pump.down(false, Mono::from_millis(300));
    pump.up(TERMS);
    pump.drop_expired(1, Mono::from_millis(300));
    assert_eq!(pump.take_settled(), [Settled { id: id(2), outcome: Outcome::Expired }]);
}
