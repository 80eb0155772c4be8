(** Momentum weights in use, and the lag constants as maxima computed from the schedule. *)

From Coq Require Import Reals Lra Lia Psatz List.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth Sharp Triangle Momentum.
Local Open Scope R_scope.
Local Arguments pow : simpl never.

(** ** Weights *)

(** A constant [beta1]: [m n = beta1 m (n-1) + (1 - beta1) s n]. *)
Definition average_weights (beta1 : R) (n j : nat) : R := (1 - beta1) * beta1 ^ (n - j).

Lemma average_weights_recursion beta1 s n i :
  m_seq (average_weights beta1) s (S n) i
  = beta1 * m_seq (average_weights beta1) s n i + (1 - beta1) * s (S n) i.
Proof.
  unfold m_seq. change (sum (S (S n)) (fun j => average_weights beta1 (S n) j * s j i))
    with (sum (S n) (fun j => average_weights beta1 (S n) j * s j i)
          + average_weights beta1 (S n) (S n) * s (S n) i).
  rewrite <- sum_scal. f_equal.
  - apply sum_ext. intros j Hj. unfold average_weights.
    replace (S n - j)%nat with (S (n - j)) by lia. rewrite <- tech_pow_Rmult. ring.
  - unfold average_weights. replace (S n - S n)%nat with 0%nat by lia. rewrite pow_O. ring.
Qed.

Lemma average_weights_nonneg beta1 n j : 0 <= beta1 < 1 -> 0 <= average_weights beta1 n j.
Proof. intros H. apply Rmult_le_pos; [lra | apply pow_le; lra]. Qed.

Lemma average_weights_sum beta1 n : 0 <= beta1 < 1 ->
  sum (S n) (fun j => average_weights beta1 n j) <= 1.
Proof.
  intros H.
  assert (E : sum (S n) (fun j => average_weights beta1 n j) = 1 - beta1 ^ S n).
  { induction n as [|n IH].
    - cbn [sum]. unfold average_weights. simpl Nat.sub. rewrite pow_O, pow_1. ring.
    - change (sum (S (S n)) (fun j => average_weights beta1 (S n) j))
        with (sum (S n) (fun j => average_weights beta1 (S n) j) + average_weights beta1 (S n) (S n)).
      rewrite (sum_ext (S n) _ (fun j => beta1 * average_weights beta1 n j)).
      + rewrite sum_scal.
        change (average_weights beta1 n) with (fun j => average_weights beta1 n j).
        rewrite IH. unfold average_weights. replace (S n - S n)%nat with 0%nat by lia.
        rewrite pow_O, <- (tech_pow_Rmult beta1 (S n)). ring.
      + intros j Hj. unfold average_weights. replace (S n - j)%nat with (S (n - j)) by lia.
        rewrite <- tech_pow_Rmult. ring. }
  rewrite E. assert (0 <= beta1 ^ S n) by (apply pow_le; lra). lra.
Qed.

(** A half-life [t1] in tokens: [m n = 2^(-B_n/t1) m (n-1) + (1 - 2^(-B_n/t1)) s n]. *)
Definition token_weights (t1 : R) (B : nat -> R) (n j : nat) : R :=
  (1 - beta2 t1 (B j)) * beta2 t1 (tokens_before B (S n) - tokens_before B (S j)).

Lemma token_weights_recursion t1 B s n i :
  m_seq (token_weights t1 B) s (S n) i
  = beta2 t1 (B (S n)) * m_seq (token_weights t1 B) s n i + (1 - beta2 t1 (B (S n))) * s (S n) i.
Proof.
  unfold m_seq. change (sum (S (S n)) (fun j => token_weights t1 B (S n) j * s j i))
    with (sum (S n) (fun j => token_weights t1 B (S n) j * s j i)
          + token_weights t1 B (S n) (S n) * s (S n) i).
  rewrite <- sum_scal. f_equal.
  - apply sum_ext. intros j _. unfold token_weights.
    replace (tokens_before B (S (S n)) - tokens_before B (S j))
      with (B (S n) + (tokens_before B (S n) - tokens_before B (S j)))
      by (unfold tokens_before; cbn [sum]; ring).
    rewrite beta2_add. ring.
  - unfold token_weights.
    replace (tokens_before B (S (S n)) - tokens_before B (S (S n))) with 0 by ring.
    rewrite beta2_0. ring.
Qed.

Lemma token_weights_nonneg t1 B n j : 0 < t1 -> (forall k, 0 < B k) -> 0 <= token_weights t1 B n j.
Proof.
  intros Ht HB. assert (H := beta2_bounds t1 (B j) Ht (HB j)).
  apply Rmult_le_pos; [lra | left; apply exp_pos].
Qed.

Lemma token_weights_sum t1 B n : 0 < t1 -> (forall k, 0 < B k) ->
  sum (S n) (fun j => token_weights t1 B n j) <= 1.
Proof.
  intros Ht HB.
  assert (E : sum (S n) (fun j => token_weights t1 B n j) = 1 - beta2 t1 (tokens_before B (S n))).
  { induction n as [|n IH].
    - cbn [sum]. unfold token_weights. rewrite Rminus_eq_0. rewrite beta2_0.
      unfold tokens_before. cbn [sum]. rewrite !Rplus_0_l. ring.
    - change (sum (S (S n)) (fun j => token_weights t1 B (S n) j))
        with (sum (S n) (fun j => token_weights t1 B (S n) j) + token_weights t1 B (S n) (S n)).
      rewrite (sum_ext (S n) _ (fun j => beta2 t1 (B (S n)) * token_weights t1 B n j)).
      + rewrite sum_scal.
        change (token_weights t1 B n) with (fun j => token_weights t1 B n j).
        rewrite IH. unfold token_weights. rewrite Rminus_eq_0.
        rewrite beta2_0.
        change (tokens_before B (S (S n))) with (tokens_before B (S n) + B (S n)).
        rewrite (beta2_add t1 (tokens_before B (S n))). ring.
      + intros j _. unfold token_weights.
        replace (tokens_before B (S (S n)) - tokens_before B (S j))
          with (B (S n) + (tokens_before B (S n) - tokens_before B (S j)))
          by (unfold tokens_before; cbn [sum]; ring).
        rewrite beta2_add. ring. }
  rewrite E. assert (0 < beta2 t1 (tokens_before B (S n))) by apply exp_pos. lra.
Qed.

(** ** The constants as maxima over the schedule *)

Definition constant_A (h : R) (B : nat -> R) (W : nat -> nat -> R) (N : nat) : R :=
  max_with 0 N (fun j => lag_A h B W N j / (1 - beta2 h (B j))).
Definition constant_A' (h : R) (B : nat -> R) (W : nat -> nat -> R) (N : nat) : R :=
  max_with 0 N (fun j => lag_A' h B W N j / (1 - beta2 h (B j))).
Definition constant_2 (h : R) (B : nat -> R) (W : nat -> nat -> R) (N : nat) : R :=
  max_with 0 N (fun j => lag_2 h B W N j / (1 - beta2 h (B j))).
Definition constant_3 (h : R) (B : nat -> R) (W : nat -> nat -> R) (N : nat) : R :=
  max_with 0 N (fun l => lag_3 h B W N l).

Lemma max_ratio h B (f : nat -> R) N : 0 < h -> (forall k, 0 < B k) ->
  forall j, (j < N)%nat ->
  f j <= max_with 0 N (fun j => f j / (1 - beta2 h (B j))) * (1 - beta2 h (B j)).
Proof.
  intros Hh HB j Hj. assert (Hb := beta2_bounds h (B j) Hh (HB j)).
  destruct (max_with_ge 0 N (fun j => f j / (1 - beta2 h (B j)))) as [_ H].
  specialize (H j Hj). cbv beta in H.
  apply (Rmult_le_compat_r (1 - beta2 h (B j))) in H; [|lra].
  replace (f j / (1 - beta2 h (B j)) * (1 - beta2 h (B j))) with (f j) in H by (field; lra).
  exact H.
Qed.

(** The momentum bound with every constant computed from the schedule and the weights. *)
Theorem adam_token_half_life_momentum_schedule :
  forall (d : nat) (h alpha eps Rg L : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (N : nat) (B : nat -> R) (W : nat -> nat -> R) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 < Rg -> 0 <= L ->
  gradient d F gradF -> lipschitz_gradient d L gradF -> (forall x, Fstar <= F x) ->
  (forall k, 0 < B k) ->
  (forall n j, (j <= n)%nat -> 0 <= W n j) -> (forall n, sum (S n) (fun j => W n j) <= 1) ->
  momentum_run d alpha h eps Rg B W gradF x0 N 0 (fun _ => zero_vec) t ->
  E t (fun w => weighted_gradients_momentum d alpha h eps B W gradF x0 N
                  (gradients 0 (fun _ => zero_vec) w))
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (Rg / 2 * constant_A h B W N + Rg * constant_A' h B W N
                   + L * alpha / 2 * constant_2 h B W N
                   + L ^ 2 * alpha ^ 2 / (4 * Rg) * constant_3 h B W N * constant_2 h B W N)
          * (ln (1 + Rg ^ 2 / eps) + ln 2 * (sum N B / h))).
Proof.
  intros. apply adam_token_half_life_momentum; try assumption.
  - apply (max_with_ge 0 N).
  - apply (max_with_ge 0 N).
  - apply (max_with_ge 0 N).
  - apply (max_with_ge 0 N).
  - apply (max_ratio h B (lag_A h B W N)); assumption.
  - apply (max_ratio h B (lag_A' h B W N)); assumption.
  - apply (max_ratio h B (lag_2 h B W N)); assumption.
  - intros l Hl. apply (max_with_ge 0 N). exact Hl.
Qed.

(** ** Without momentum the constants are 1, 0, 1, 0 and the sharp flagship returns *)

Definition no_momentum (n j : nat) : R := if Nat.eqb n j then 1 else 0.

Lemma sum_single n a : (0 < n)%nat -> sum n (fun k => if Nat.eqb k 0 then a else 0) = a.
Proof.
  induction n as [|[|n] IH]; intros H; [lia | simpl; ring|].
  cbn [sum] in *. rewrite IH by lia. simpl. ring.
Qed.

Lemma no_momentum_constants h B N : 0 < h -> (forall k, 0 < B k) ->
  (forall j, (j < N)%nat -> lag_A h B no_momentum N j = 1 * (1 - beta2 h (B j)))
  /\ (forall j, (j < N)%nat -> lag_A' h B no_momentum N j = 0 * (1 - beta2 h (B j)))
  /\ (forall j, (j < N)%nat -> lag_2 h B no_momentum N j = 1 * (1 - beta2 h (B j)))
  /\ (forall l, (l < N)%nat -> lag_3 h B no_momentum N l = 0)
  /\ (forall j, (j < N)%nat -> momentum_weight h B no_momentum N j = sqrt (1 - beta2 h (B j))).
Proof.
  intros Hh HB.
  assert (Hc : forall j, 0 < 1 - beta2 h (B j))
    by (intros j; assert (Hb := beta2_bounds h (B j) Hh (HB j)); lra).
  assert (Hgrow : forall j, lag_growth h B j j = 1).
  { intros j. unfold lag_growth. replace (_ / h) with 0 by (unfold Rdiv; ring). apply Rpower_O. lra. }
  assert (Hroot : forall j, lag_root h B j j = weight h B j).
  { intros j. unfold lag_root, weight, tokens_before. cbn [sum]. f_equal. f_equal. f_equal. ring. }
  assert (Hww : forall j, weight h B j * weight h B j = 1 - beta2 h (B j)).
  { intros j. unfold weight. apply sqrt_sqrt. specialize (Hc j). lra. }
  assert (Hoff : forall j k, (0 < k)%nat -> no_momentum (j + k) j = 0).
  { intros j k Hk. unfold no_momentum. destruct (Nat.eqb_spec (j + k) j); [lia | reflexivity]. }
  assert (Hon : forall j, no_momentum (j + 0) j = 1).
  { intros j. unfold no_momentum. rewrite Nat.add_0_r, Nat.eqb_refl. reflexivity. }
  assert (Hfirst : forall (f : nat -> R) j a, (j < N)%nat -> f 0%nat = a ->
            (forall k, (0 < k)%nat -> f k = 0) -> sum (N - j) f = a).
  { intros f j a Hj H0 Hk. rewrite <- (sum_single (N - j) a) by lia. apply sum_ext.
    intros k _. destruct (Nat.eqb_spec k 0) as [-> | Hne]; [exact H0 | apply Hk; lia]. }
  repeat split; intros j Hj.
  - apply Hfirst; [exact Hj | |].
    + rewrite Hon, Nat.add_0_r, Hgrow, Hroot, <- Hww. ring.
    + intros k Hk. rewrite Hoff by exact Hk. ring.
  - unfold lag_A'. rewrite (sum_ext _ _ (fun _ => 0)); [rewrite sum_const; ring|].
    intros k _. replace (S j + k)%nat with (j + S k)%nat by lia. rewrite Hoff by lia. ring.
  - apply Hfirst; [exact Hj | |].
    + rewrite Hon, Nat.add_0_r, Hgrow. ring.
    + intros k Hk. rewrite Hoff by exact Hk. ring.
  - unfold lag_3. rewrite (sum_ext _ _ (fun _ => 0)); [rewrite sum_const; ring|].
    intros k _. rewrite (sum_ext (S j) _ (fun _ => 0)); [rewrite sum_const; ring|].
    intros l Hl. unfold no_momentum. destruct (Nat.eqb_spec (S j + k) l); [lia|].
    unfold Rdiv. ring.
  - apply Hfirst; [exact Hj | |].
    + rewrite Hon, Nat.add_0_r. unfold weight. ring.
    + intros k Hk. rewrite Hoff by exact Hk. ring.
Qed.

(** The same bound as [adam_token_half_life_sharp], through the momentum theorem. *)
Corollary momentum_bound_without_momentum :
  forall (d : nat) (h alpha eps Rg L : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (N : nat) (B : nat -> R) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 < Rg -> 0 <= L ->
  gradient d F gradF -> lipschitz_gradient d L gradF -> (forall x, Fstar <= F x) ->
  (forall k, 0 < B k) ->
  momentum_run d alpha h eps Rg B no_momentum gradF x0 N 0 (fun _ => zero_vec) t ->
  E t (fun w => sum N (fun j => sqrt (1 - beta2 h (B j)) * norm_sq d (gradF
         (x_seq alpha h eps B no_momentum x0 (gradients 0 (fun _ => zero_vec) w) j))))
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (Rg / 2 + L * alpha / 2) * (ln (1 + Rg ^ 2 / eps) + ln 2 * (sum N B / h))).
Proof.
  intros d h alpha eps Rg L F gradF Fstar x0 N B t Hh Ha He HR HL HF Hlip HFs HB Hrun.
  destruct (no_momentum_constants h B N Hh HB) as (HA & HA' & H2 & H3 & Hw).
  assert (Hnn : forall n j, (j <= n)%nat -> 0 <= no_momentum n j).
  { intros n j _. unfold no_momentum. destruct (Nat.eqb n j); lra. }
  assert (Hone : forall n, sum (S n) (fun j => no_momentum n j) <= 1).
  { intros n. cbn [sum]. rewrite (sum_ext n _ (fun _ => 0)).
    - rewrite sum_const. unfold no_momentum. rewrite Nat.eqb_refl. lra.
    - intros j Hj. unfold no_momentum. destruct (Nat.eqb_spec n j); [lia | reflexivity]. }
  assert (H := adam_token_half_life_momentum d h alpha eps Rg L F gradF Fstar x0 N B no_momentum
    1 0 1 0 t Hh Ha He HR HL HF Hlip HFs HB Hnn Hone
    ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra)
    ltac:(intros j Hj; right; apply HA; exact Hj) ltac:(intros j Hj; right; apply HA'; exact Hj)
    ltac:(intros j Hj; right; apply H2; exact Hj) ltac:(intros l Hl; right; apply H3; exact Hl) Hrun).
  rewrite (E_ext t _ (fun w => sum N (fun j => sqrt (1 - beta2 h (B j)) * norm_sq d (gradF
         (x_seq alpha h eps B no_momentum x0 (gradients 0 (fun _ => zero_vec) w) j))))) in H.
  - apply Rle_trans with (1 := H). right. field. lra.
  - intros w _. apply sum_ext. intros j Hj. rewrite Hw by exact Hj. reflexivity.
Qed.
