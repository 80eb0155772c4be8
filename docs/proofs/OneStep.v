(** The one-step lemma for one coordinate, conditionally on the past.

    Given the past, the gradient takes the value [g j] with probability [p j],
    [j < m].  [u = beta v_{k-1}], [c = 1 - beta], [G] is the conditional mean and
    [r^2] the conditional second moment. *)

From Coq Require Import Reals Lra Lia Psatz.
From BSTheory Require Import FiniteSums Analysis.
Local Open Scope R_scope.

(** Nonnegative weights that sum to one. *)
Definition distribution (m : nat) (p : nat -> R) : Prop :=
  (forall j, (j < m)%nat -> 0 <= p j) /\ sum m p = 1.

(** Expectation of [f] under the weights [p]. *)
Definition mean (m : nat) (p f : nat -> R) : R := sum m (fun j => p j * f j).

Lemma mean_le m p f g :
  distribution m p -> (forall j, (j < m)%nat -> f j <= g j) -> mean m p f <= mean m p g.
Proof.
  intros [Hp _] H. apply sum_le. intros j Hj. apply Rmult_le_compat_l; auto.
Qed.

Lemma mean_ext m p f g : (forall j, (j < m)%nat -> f j = g j) -> mean m p f = mean m p g.
Proof. intros H. apply sum_ext. intros j Hj. rewrite H by assumption. reflexivity. Qed.

Lemma mean_plus m p f g : mean m p (fun j => f j + g j) = mean m p f + mean m p g.
Proof.
  unfold mean. rewrite <- sum_plus. apply sum_ext. intros; ring.
Qed.

Lemma mean_minus m p f g : mean m p (fun j => f j - g j) = mean m p f - mean m p g.
Proof.
  unfold mean. rewrite <- sum_minus. apply sum_ext. intros; ring.
Qed.

Lemma mean_scal m p a f : mean m p (fun j => a * f j) = a * mean m p f.
Proof. unfold mean. rewrite <- sum_scal. apply sum_ext. intros; ring. Qed.

Lemma mean_const m p a : distribution m p -> mean m p (fun _ => a) = a.
Proof.
  intros [_ Hs]. unfold mean.
  rewrite (sum_ext m _ (fun j => a * p j)) by (intros; ring).
  rewrite sum_scal, Hs. ring.
Qed.

Lemma mean_sum m p d (f : nat -> nat -> R) :
  mean m p (fun j => sum d (fun i => f i j)) = sum d (fun i => mean m p (f i)).
Proof.
  unfold mean. rewrite (sum_swap d m). apply sum_ext. intros j _.
  rewrite <- sum_scal. reflexivity.
Qed.

Lemma mean_nonneg m p f :
  distribution m p -> (forall j, (j < m)%nat -> 0 <= f j) -> 0 <= mean m p f.
Proof.
  intros Hd H. rewrite <- (mean_const m p 0) by exact Hd. apply mean_le; auto.
Qed.

(** Step [conditional_unbiasedness] (theory, step 2): dividing by a root that is
    known before the draw keeps the gradient unbiased. *)
Lemma conditional_unbiasedness m p g G Q :
  mean m p g = G -> mean m p (fun j => G * g j / Q) = G ^ 2 / Q.
Proof.
  intros HG. rewrite (mean_ext _ _ _ (fun j => G / Q * g j)) by (intros; unfold Rdiv; ring).
  rewrite mean_scal, HG. unfold Rdiv. ring.
Qed.

(** The inequality of the one-step lemma, outcome by outcome; the last factor of
    the third term has expectation one. *)
Lemma one_step_outcome eps c u r G g :
  0 < eps -> 0 <= c -> 0 <= u -> 0 < r ->
  G * g / sqrt (eps + (u + c * r ^ 2))
  - G ^ 2 / (4 * sqrt (eps + (u + c * r ^ 2)))
  - G ^ 2 / (4 * sqrt (eps + (u + c * r ^ 2))) * (g ^ 2 / r ^ 2)
  - 2 * sqrt c * r * (g ^ 2 / (eps + (u + c * g ^ 2)))
  <= G * g / sqrt (eps + (u + c * g ^ 2)).
Proof.
  intros He Hc Hu Hr.
  assert (Hg2 := pow2_ge_0 g). assert (Hr2 := pow2_ge_0 r).
  assert (Hv : 0 < eps + (u + c * g ^ 2)) by nra.
  assert (Hvt : 0 < eps + (u + c * r ^ 2)) by nra.
  destruct (sqrt_sq_pos _ Hv) as [HP HPP]. destruct (sqrt_sq_pos _ Hvt) as [HQ HQQ].
  assert (Hid := inverse_root_difference eps c u g r He Hc Hu). cbv zeta in Hid.
  set (P := sqrt (eps + (u + c * g ^ 2))) in *.
  set (Q := sqrt (eps + (u + c * r ^ 2))) in *.
  assert (HcQ : c * r ^ 2 <= Q ^ 2) by nra. assert (HcP : c * g ^ 2 <= P ^ 2) by nra.
  assert (H1 := young_past c r G g P Q Hc (Rlt_le _ _ Hr) HP HQ HcQ).
  assert (H2 := young_present c r G g P Q Hc Hr HP HQ HcQ HcP).
  assert (HA : 0 <= c * Rabs (G * g)) by (apply Rmult_le_pos; [lra | apply Rabs_pos]).
  assert (Hdiff : - (c * Rabs (G * g) * r ^ 2 / (P * Q ^ 2))
                  - c * Rabs (G * g) * g ^ 2 / (P ^ 2 * Q)
                  <= G * g / P - G * g / Q).
  { assert (E : G * g / P - G * g / Q
                = c * (G * g) * r ^ 2 / (P * Q * (P + Q))
                  - c * (G * g) * g ^ 2 / (P * Q * (P + Q))).
    { replace (G * g / P - G * g / Q) with (G * g * (/ P - / Q)) by (unfold Rdiv; ring).
      rewrite Hid. field. lra. }
    rewrite E.
    assert (HPQ : 0 < P * Q) by nra.
    assert (I1 : 0 < / (P * Q * (P + Q))) by (apply Rinv_0_lt_compat; nra).
    assert (I2 : / (P * Q * (P + Q)) <= / (P * Q ^ 2)) by (apply Rinv_le_contravar; nra).
    assert (I3 : / (P * Q * (P + Q)) <= / (P ^ 2 * Q)) by (apply Rinv_le_contravar; nra).
    assert (HGa := Rle_abs (G * g)). assert (HGb := Rle_abs (- (G * g))). rewrite Rabs_Ropp in HGb.
    unfold Rdiv.
    assert (J1 : c * Rabs (G * g) * r ^ 2 * / (P * Q * (P + Q))
                 <= c * Rabs (G * g) * r ^ 2 * / (P * Q ^ 2))
      by (apply Rmult_le_compat_l; [apply Rmult_le_pos|]; lra).
    assert (J2 : c * Rabs (G * g) * g ^ 2 * / (P * Q * (P + Q))
                 <= c * Rabs (G * g) * g ^ 2 * / (P ^ 2 * Q))
      by (apply Rmult_le_compat_l; [apply Rmult_le_pos|]; lra).
    assert (J3 : - (c * Rabs (G * g) * r ^ 2 * / (P * Q * (P + Q)))
                 <= c * (G * g) * r ^ 2 * / (P * Q * (P + Q))).
    { rewrite <- Ropp_mult_distr_l_reverse. apply Rmult_le_compat_r; [lra|].
      rewrite <- Ropp_mult_distr_l_reverse. apply Rmult_le_compat_r; [lra|]. nra. }
    assert (J4 : c * (G * g) * g ^ 2 * / (P * Q * (P + Q))
                 <= c * Rabs (G * g) * g ^ 2 * / (P * Q * (P + Q))).
    { apply Rmult_le_compat_r; [lra|]. apply Rmult_le_compat_r; [lra|]. nra. }
    lra. }
  replace (g ^ 2 / (eps + (u + c * g ^ 2))) with (g ^ 2 / P ^ 2)
    by (rewrite <- HPP; f_equal; ring).
  lra.
Qed.

(** Step [one_step] (theory, step 5), with [r] the root of the second moment. *)
Lemma one_step_exact_moment m p g G eps c u r :
  distribution m p -> 0 < eps -> 0 <= c -> 0 <= u -> 0 <= r ->
  mean m p g = G -> mean m p (fun j => g j ^ 2) = r ^ 2 ->
  G ^ 2 / (2 * sqrt (eps + (u + c * r ^ 2)))
  - 2 * sqrt c * r * mean m p (fun j => g j ^ 2 / (eps + (u + c * g j ^ 2)))
  <= mean m p (fun j => G * g j / sqrt (eps + (u + c * g j ^ 2))).
Proof.
  intros Hd He Hc Hu [Hr | <-] HG Hr2.
  - assert (Hvt : 0 < eps + (u + c * r ^ 2)) by (assert (H := pow2_ge_0 r); nra).
    destruct (sqrt_sq_pos _ Hvt) as [HQ _].
    set (Q := sqrt (eps + (u + c * r ^ 2))) in *.
    apply Rle_trans with
      (mean m p (fun j => G * g j / Q - G ^ 2 / (4 * Q) - G ^ 2 / (4 * Q) * (g j ^ 2 / r ^ 2)
                          - 2 * sqrt c * r * (g j ^ 2 / (eps + (u + c * g j ^ 2))))).
    2:{ apply mean_le; [exact Hd|]. intros j _. apply one_step_outcome; assumption. }
    rewrite !mean_minus, (conditional_unbiasedness m p g G Q HG), mean_const, !mean_scal by exact Hd.
    rewrite (mean_ext m p (fun j => g j ^ 2 / r ^ 2) (fun j => / r ^ 2 * g j ^ 2))
      by (intros; unfold Rdiv; ring).
    rewrite mean_scal, Hr2.
    right. field. lra.
  - (* r = 0: the gradient vanishes with probability one *)
    assert (Hz : forall j, (j < m)%nat -> p j * g j = 0).
    { intros j Hj. destruct Hd as [Hp _].
      assert (Hpg : p j * g j ^ 2 = 0).
      { apply (sum_zero_terms m (fun j => p j * g j ^ 2)); [| | exact Hj].
        - intros k Hk. apply Rmult_le_pos; [apply Hp; exact Hk | apply pow2_ge_0].
        - unfold mean in Hr2. rewrite Hr2. ring. }
      assert (Hsq : (p j * g j) * (p j * g j) = 0)
        by (replace (p j * g j * (p j * g j)) with (p j * (p j * g j ^ 2)) by ring;
            rewrite Hpg; ring).
      apply Rmult_integral in Hsq. tauto. }
    assert (HG0 : G = 0).
    { rewrite <- HG. unfold mean. rewrite (sum_ext m _ (fun _ => 0)) by (intros; apply Hz; assumption).
      rewrite sum_const. ring. }
    rewrite (mean_ext m p (fun j => G * g j / _) (fun _ => 0)) by (intros; rewrite HG0; unfold Rdiv; ring).
    rewrite (mean_const m p 0) by exact Hd. rewrite HG0. right. unfold Rdiv. ring.
Qed.

(** Step [one_step] as it is used: [r^2] is any upper bound on the second moment in the
    error term, [root] any upper bound on the predictable root. *)
Lemma one_step m p g G eps c u r M root :
  distribution m p -> 0 < eps -> 0 <= c -> 0 <= u -> 0 <= r ->
  mean m p g = G -> mean m p (fun j => g j ^ 2) <= r ^ 2 ->
  u + c * mean m p (fun j => g j ^ 2) <= M -> eps + M <= root ^ 2 -> 0 < root ->
  G ^ 2 / (2 * root)
  - 2 * sqrt c * r * mean m p (fun j => g j ^ 2 / (eps + (u + c * g j ^ 2)))
  <= mean m p (fun j => G * g j / sqrt (eps + (u + c * g j ^ 2))).
Proof.
  intros Hd He Hc0 Hu Hr HG Hr2 HuM HMS HS.
  set (q := mean m p (fun j => g j ^ 2)) in *.
  assert (Hq : 0 <= q) by (apply mean_nonneg; [exact Hd | intros; apply pow2_ge_0]).
  assert (Hs := sqrt_pos q).
  assert (Hss : sqrt q ^ 2 = q) by (simpl; rewrite Rmult_1_r; apply sqrt_sqrt; exact Hq).
  assert (H := one_step_exact_moment m p g G eps c u (sqrt q) Hd He Hc0 Hu Hs HG (eq_sym Hss)).
  assert (Hsr : sqrt q <= r) by (rewrite <- (sqrt_pow2 r) by exact Hr; apply sqrt_le_1_alt; exact Hr2).
  set (X := mean m p (fun j => g j ^ 2 / (eps + (u + c * g j ^ 2)))) in *.
  assert (HX : 0 <= X).
  { apply mean_nonneg; [exact Hd|]. intros j _. assert (Hg := pow2_ge_0 (g j)).
    assert (Hcg : 0 <= c * g j ^ 2) by (apply Rmult_le_pos; assumption).
    apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]. }
  rewrite Hss in H.
  assert (Hcq : 0 <= c * q) by (apply Rmult_le_pos; assumption).
  assert (Hvt : 0 < eps + (u + c * q)) by lra.
  assert (HQS : sqrt (eps + (u + c * q)) <= root).
  { rewrite <- (sqrt_pow2 root) by lra. apply sqrt_le_1_alt. lra. }
  destruct (sqrt_sq_pos _ Hvt) as [HQ _].
  set (Q := sqrt (eps + (u + c * q))) in *.
  assert (HG2 : G ^ 2 / (2 * root) <= G ^ 2 / (2 * Q)).
  { apply Rmult_le_compat_l; [apply pow2_ge_0 | apply Rinv_le_contravar; lra]. }
  assert (Hm : 2 * sqrt c * sqrt q * X <= 2 * sqrt c * r * X).
  { apply Rmult_le_compat_r; [exact HX|]. apply Rmult_le_compat_l; [|exact Hsr].
    assert (Hc' := sqrt_pos c). lra. }
  lra.
Qed.
