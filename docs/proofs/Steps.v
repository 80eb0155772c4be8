(** Tactics for the steps of a derivation: a step claims that a gap is nonnegative (or zero)
    because it is a combination of earlier gaps with visibly nonnegative multipliers. *)

From Coq Require Import Reals Lra Lia Arith.
From BSTheory Require Import FiniteSums OneStep.
Local Open Scope R_scope.

Lemma pow_even_nonneg x n : Nat.even n = true -> 0 <= x ^ n.
Proof.
  intros H. apply Nat.even_spec in H. destruct H as [k ->]. rewrite pow_mult.
  apply pow_le. apply pow2_ge_0.
Qed.

(** Signs that can be read off a term. *)
Ltac positive :=
  lazymatch goal with
  | |- 0 < _ + _ =>
      first [ apply Rplus_lt_le_0_compat; [positive | nonnegative]
            | apply Rplus_le_lt_0_compat; [nonnegative | positive] ]
  | |- 0 < _ * _ => apply Rmult_lt_0_compat; positive
  | |- 0 < _ / _ => apply Rdiv_lt_0_compat; positive
  | |- 0 < / _ => apply Rinv_0_lt_compat; positive
  | |- 0 < _ ^ _ => apply pow_lt; positive
  | |- 0 < IZR _ => lra
  | |- 0 < Rpower _ _ => apply exp_pos
  | |- 0 < _ => solve [auto]
  end
with nonnegative :=
  lazymatch goal with
  | |- 0 <= _ + _ => apply Rplus_le_le_0_compat; nonnegative
  | |- 0 <= _ * _ => apply Rmult_le_pos; nonnegative
  | |- 0 <= _ / _ => apply Rmult_le_pos; [nonnegative | left; apply Rinv_0_lt_compat; positive]
  | |- 0 <= / _ => left; apply Rinv_0_lt_compat; positive
  | |- 0 <= _ ^ _ => first [apply pow_even_nonneg; reflexivity | apply pow_le; nonnegative]
  | |- 0 <= IZR _ => lra
  | |- 0 <= _ => first [solve [auto] | left; positive]
  end.

Ltac nonzero := repeat split; apply Rgt_not_eq; unfold Rgt; positive.

Ltac identity := first [ring | field; nonzero].

(** A sum of [multiplier * gap]s, squares and a rest, closed by the gaps in the context. *)
Ltac term :=
  first [ match goal with H : ?e = 0 |- 0 <= _ * ?e => rewrite H, Rmult_0_r; apply Rle_refl end
        | assumption
        | nonnegative
        | apply Rmult_le_pos; term ].
Ltac terms := repeat (apply Rplus_le_le_0_compat; [term |]); try apply Rle_refl; term.
Ltac vanish := repeat match goal with H : ?e = 0 |- context [?e] => rewrite H end; ring.

(** Logarithms. *)
Lemma ln_tangent y : 0 < y -> 0 <= y - 1 - ln y.
Proof. intros Hy. assert (H := exp_ineq1_le (ln y)). rewrite exp_ln in H by exact Hy. lra. Qed.

Lemma ln_quotient a b : 0 < a -> 0 < b -> ln (a / b) - ln a + ln b = 0.
Proof.
  intros Ha Hb. unfold Rdiv. rewrite ln_mult by (try apply Rinv_0_lt_compat; assumption).
  rewrite ln_Rinv by exact Hb. ring.
Qed.

Lemma ln_product a b : 0 < a -> 0 < b -> ln (a * b) - ln a - ln b = 0.
Proof. intros Ha Hb. rewrite ln_mult by assumption. ring. Qed.

Lemma ln_monotone a b : 0 < b -> 0 <= a - b -> 0 <= ln a - ln b.
Proof.
  intros Hb H. destruct (Req_dec a b) as [-> | Hne]; [lra|].
  assert (ln b < ln a) by (apply ln_increasing; lra). lra.
Qed.

Lemma ln_power_of_two x : ln (Rpower 2 x) - x * ln 2 = 0.
Proof. unfold Rpower. rewrite ln_exp. ring. Qed.

(** Powers of two. *)
Lemma power_monotone x y : 0 <= x - y -> 0 <= Rpower 2 x - Rpower 2 y.
Proof.
  intros H. destruct (Req_dec x y) as [-> | Hne]; [lra|].
  assert (Rpower 2 y < Rpower 2 x) by (apply Rpower_lt; lra). lra.
Qed.

Lemma power_product x y : Rpower 2 (x + y) - Rpower 2 x * Rpower 2 y = 0.
Proof. rewrite Rpower_plus. ring. Qed.
