(** Analytic lemmas behind the Adam bounds: the inverse-root difference, the two
    uses of Young's inequality, the logarithmic step and the log-sum lemma with
    a decay factor that changes at every step. *)

From Coq Require Import Reals Lra Lia Psatz.
From BSTheory Require Import FiniteSums.
Local Open Scope R_scope.

(** ** Roots *)

Lemma sqrt_sq_pos a : 0 < a -> 0 < sqrt a /\ sqrt a * sqrt a = a.
Proof. intros H. split; [apply sqrt_lt_R0; lra | apply sqrt_sqrt; lra]. Qed.

(** Step [inverse_root_difference] (theory, step 1): an exact identity. *)
Lemma inverse_root_difference eps c u g r :
  0 < eps -> 0 <= c -> 0 <= u ->
  let v := u + c * g ^ 2 in
  let vt := u + c * r ^ 2 in
  / sqrt (eps + v) - / sqrt (eps + vt)
  = c * (r ^ 2 - g ^ 2)
    / (sqrt (eps + v) * sqrt (eps + vt) * (sqrt (eps + v) + sqrt (eps + vt))).
Proof.
  intros He Hc Hu v vt.
  assert (Hv : 0 < eps + v) by (unfold v; nra).
  assert (Hvt : 0 < eps + vt) by (unfold vt; nra).
  destruct (sqrt_sq_pos _ Hv) as [HP HPP]. destruct (sqrt_sq_pos _ Hvt) as [HQ HQQ].
  set (P := sqrt (eps + v)) in *. set (Q := sqrt (eps + vt)) in *.
  assert (Hd : c * (r ^ 2 - g ^ 2) = Q * Q - P * P) by (rewrite HPP, HQQ; unfold v, vt; ring).
  rewrite Hd. field. repeat split; lra.
Qed.

(** ** Young's inequality *)

(** For [0 < lam]: [|a b| <= lam a^2 + b^2 / (4 lam)]. *)
Lemma young a b lam : 0 < lam -> Rabs (a * b) <= lam * a ^ 2 + b ^ 2 / (4 * lam).
Proof.
  intros Hl.
  assert (Hsq : forall s, 0 <= lam * (a - s * b / (2 * lam)) ^ 2).
  { intros s. apply Rmult_le_pos; [lra | apply pow2_ge_0]. }
  assert (H1 := Hsq 1). assert (H2 := Hsq (-1)).
  assert (E1 : lam * (a - 1 * b / (2 * lam)) ^ 2
               = lam * a ^ 2 + b ^ 2 / (4 * lam) - a * b) by (field; lra).
  assert (E2 : lam * (a - -1 * b / (2 * lam)) ^ 2
               = lam * a ^ 2 + b ^ 2 / (4 * lam) + a * b) by (field; lra).
  apply Rabs_le. lra.
Qed.

(** Step [young_past] (theory, step 3).  [P] and [Q] stand for
    [sqrt (eps + v)] and [sqrt (eps + vt)]. *)
Lemma young_past c r G g P Q :
  0 <= c -> 0 <= r -> 0 < P -> 0 < Q -> c * r ^ 2 <= Q ^ 2 ->
  c * Rabs (G * g) * r ^ 2 / (P * Q ^ 2)
  <= G ^ 2 / (4 * Q) + sqrt c * r * (g ^ 2 / P ^ 2).
Proof.
  intros Hc Hr HP HQ Hle.
  assert (Hs : 0 <= sqrt c * r) by (apply Rmult_le_pos; [apply sqrt_pos | lra]).
  assert (Hs2 : c * r ^ 2 = (sqrt c * r) ^ 2).
  { replace ((sqrt c * r) ^ 2) with (sqrt c * sqrt c * r ^ 2) by ring.
    rewrite sqrt_sqrt by lra. ring. }
  assert (HsQ : sqrt c * r <= Q) by (apply Rsqr_incr_0_var; unfold Rsqr; nra).
  set (s := sqrt c * r) in *.
  set (t := s / Q). set (q := g / P).
  assert (Ht0 : 0 <= t) by (apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]).
  assert (Ht1 : t <= 1) by (apply (Rmult_le_reg_r Q); [lra | unfold t; field_simplify; lra]).
  replace (c * Rabs (G * g) * r ^ 2 / (P * Q ^ 2)) with (Rabs (G * (q * t ^ 2))).
  2:{ replace (G * (q * t ^ 2)) with (G * g * (s ^ 2 / (P * Q ^ 2)))
        by (unfold q, t; field; lra).
      rewrite Rabs_mult, (Rabs_pos_eq (s ^ 2 / (P * Q ^ 2))).
      - rewrite <- Hs2. field. lra.
      - apply Rmult_le_pos; [apply pow2_ge_0 |].
        left. apply Rinv_0_lt_compat. apply Rmult_lt_0_compat; [lra | apply pow_lt; lra]. }
  assert (HQ' : 0 < / (4 * Q)) by (apply Rinv_0_lt_compat; lra).
  assert (HY := young G (q * t ^ 2) (/ (4 * Q)) HQ').
  replace ((q * t ^ 2) ^ 2 / (4 * / (4 * Q))) with (s * q ^ 2 * t ^ 3) in HY
    by (unfold t; field; lra).
  replace (G ^ 2 / (4 * Q)) with (/ (4 * Q) * G ^ 2) by (field; lra).
  replace (s * (g ^ 2 / P ^ 2)) with (s * q ^ 2) by (unfold q; field; lra).
  assert (Ht3 : t ^ 3 <= 1) by (rewrite <- (pow1 3); apply pow_incr; lra).
  assert (Hsq : 0 <= s * q ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
  nra.
Qed.

(** Step [young_present] (theory, step 4); the factor [g^2 / r^2] has
    expectation one. *)
Lemma young_present c r G g P Q :
  0 <= c -> 0 < r -> 0 < P -> 0 < Q -> c * r ^ 2 <= Q ^ 2 -> c * g ^ 2 <= P ^ 2 ->
  c * Rabs (G * g) * g ^ 2 / (P ^ 2 * Q)
  <= G ^ 2 / (4 * Q) * (g ^ 2 / r ^ 2) + sqrt c * r * (g ^ 2 / P ^ 2).
Proof.
  intros Hc Hr HP HQ HleQ HleP.
  assert (Hs : 0 <= sqrt c * r) by (apply Rmult_le_pos; [apply sqrt_pos | lra]).
  assert (Hs2 : c * r ^ 2 = (sqrt c * r) ^ 2).
  { replace ((sqrt c * r) ^ 2) with (sqrt c * sqrt c * r ^ 2) by ring.
    rewrite sqrt_sqrt by lra. ring. }
  assert (HsQ : sqrt c * r <= Q) by (apply Rsqr_incr_0_var; unfold Rsqr; nra).
  set (s := sqrt c * r) in *.
  set (t := s / Q). set (q := g / P).
  assert (Ht0 : 0 <= t) by (apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]).
  assert (Ht1 : t <= 1) by (apply (Rmult_le_reg_r Q); [lra | unfold t; field_simplify; lra]).
  assert (Hcq0 : 0 <= c * q ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
  assert (Hcq1 : c * q ^ 2 <= 1).
  { apply (Rmult_le_reg_r (P ^ 2)); [apply pow_lt; lra|].
    replace (c * q ^ 2 * P ^ 2) with (c * g ^ 2) by (unfold q; field; lra). lra. }
  replace (c * Rabs (G * g) * g ^ 2 / (P ^ 2 * Q)) with (Rabs (G * g / r * (c * q ^ 2 * r / Q))).
  2:{ replace (G * g / r * (c * q ^ 2 * r / Q)) with (G * g * (c * g ^ 2 / (P ^ 2 * Q)))
        by (unfold q; field; lra).
      rewrite Rabs_mult, (Rabs_pos_eq (c * g ^ 2 / (P ^ 2 * Q))).
      - field. lra.
      - apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply pow2_ge_0] |].
        left. apply Rinv_0_lt_compat. apply Rmult_lt_0_compat; [apply pow_lt; lra | lra]. }
  assert (HQ' : 0 < / (4 * Q)) by (apply Rinv_0_lt_compat; lra).
  assert (HY := young (G * g / r) (c * q ^ 2 * r / Q) (/ (4 * Q)) HQ').
  replace ((c * q ^ 2 * r / Q) ^ 2 / (4 * / (4 * Q)))
    with (c * q ^ 2 * (c * r ^ 2) * q ^ 2 / Q) in HY by (field; lra).
  rewrite Hs2 in HY.
  replace (c * q ^ 2 * s ^ 2 * q ^ 2 / Q) with (s * q ^ 2 * (c * q ^ 2) * t) in HY
    by (unfold t; field; lra).
  replace (G ^ 2 / (4 * Q) * (g ^ 2 / r ^ 2)) with (/ (4 * Q) * (G * g / r) ^ 2)
    by (field; lra).
  replace (s * (g ^ 2 / P ^ 2)) with (s * q ^ 2) by (unfold q; field; lra).
  assert (Hsq : 0 <= s * q ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
  assert (Hm : c * q ^ 2 * t <= 1) by nra.
  nra.
Qed.

(** ** Logarithms *)

Lemma one_minus_le_neg_ln y : 0 < y -> 1 - y <= - ln y.
Proof.
  intros Hy. assert (H := exp_ineq1_le (ln y)). rewrite exp_ln in H by lra. lra.
Qed.

Lemma ln_le x y : 0 < x -> x <= y -> ln x <= ln y.
Proof.
  intros Hx [Hlt | ->]; [left; apply ln_increasing; lra | lra].
Qed.

Lemma ln_div x y : 0 < x -> 0 < y -> ln (x / y) = ln x - ln y.
Proof.
  intros Hx Hy. unfold Rdiv. rewrite ln_mult by (try apply Rinv_0_lt_compat; lra).
  rewrite ln_Rinv by lra. ring.
Qed.

(** Step [log_step] (theory, step 8), with [a] the new contribution and
    [beta * v] what is left of the old accumulator. *)
Lemma log_step eps beta v a :
  0 < eps -> 0 < beta <= 1 -> 0 <= v -> 0 <= a ->
  a / (eps + (beta * v + a)) <= ln ((eps + (beta * v + a)) / (eps + beta * v))
  /\ ln ((eps + (beta * v + a)) / (eps + beta * v))
     <= ln ((eps + (beta * v + a)) / (eps + v)) - ln beta.
Proof.
  intros He [Hb0 Hb1] Hv Ha.
  assert (Hbv : 0 <= beta * v) by nra.
  assert (Hn : 0 < eps + (beta * v + a)) by lra.
  split.
  - assert (H := one_minus_le_neg_ln ((eps + beta * v) / (eps + (beta * v + a)))).
    assert (Hy : 0 < (eps + beta * v) / (eps + (beta * v + a))) by (apply Rdiv_lt_0_compat; lra).
    specialize (H Hy). rewrite ln_div in H by lra. rewrite ln_div by lra.
    replace (a / (eps + (beta * v + a)))
      with (1 - (eps + beta * v) / (eps + (beta * v + a))) by (field; lra).
    lra.
  - rewrite !ln_div by lra.
    assert (H : ln (beta * (eps + v)) <= ln (eps + beta * v)) by (apply ln_le; nra).
    rewrite ln_mult in H by lra. lra.
Qed.

(** Step [log_sum]: for any nonnegative contributions [a k] and any decay factors
    [beta k] in (0, 1], which may all differ. *)
Fixpoint decayed (beta a : nat -> R) (v0 : R) (n : nat) : R :=
  match n with
  | O => v0
  | S k => beta k * decayed beta a v0 k + a k
  end.

Lemma decayed_nonneg beta a v0 n :
  0 <= v0 -> (forall k, 0 <= beta k) -> (forall k, 0 <= a k) -> 0 <= decayed beta a v0 n.
Proof.
  intros Hv Hb Ha. induction n as [|n IH]; simpl; [lra|].
  specialize (Hb n). specialize (Ha n). nra.
Qed.

Lemma log_sum eps beta a v0 n :
  0 < eps -> 0 <= v0 -> (forall k, 0 < beta k <= 1) -> (forall k, 0 <= a k) ->
  sum n (fun k => a k / (eps + decayed beta a v0 (S k)))
  <= ln ((eps + decayed beta a v0 n) / (eps + v0)) + sum n (fun k => - ln (beta k)).
Proof.
  intros He Hv Hb Ha.
  assert (Hpos : forall k, 0 <= decayed beta a v0 k).
  { intros k. apply decayed_nonneg; auto. intros j. specialize (Hb j). lra. }
  rewrite ln_div by (specialize (Hpos n); lra).
  induction n as [|n IH].
  - simpl. lra.
  - assert (Hn := Hpos n). assert (HSn := Hpos (S n)).
    destruct (log_step eps (beta n) (decayed beta a v0 n) (a n) He (Hb n) Hn (Ha n)) as [H1 H2].
    cbn [sum]. cbn [decayed] in *. rewrite (ln_div _ (eps + decayed beta a v0 n)) in H2 by lra.
    cbn [decayed] in IH. lra.
Qed.
