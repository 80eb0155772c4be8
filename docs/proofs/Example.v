(** The hypotheses can be met: [F x = sum_i (1 - cos x_i)] with two-point noise whose size
    falls like [1 / sqrt B], any number of steps and any rule for the batch size.  One
    instance is enclosed numerically. *)

From Coq Require Import Reals Lra Lia Psatz List.
From Interval Require Import Tactic.
From Interval Require Import Float.Specific_stdz Float.Specific_ops.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth Momentum MomentumWeights.
From BSTheory Require Import NormTest NormTestBound.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** Interval arithmetic over Coq's own integers: processor integers and floats would come
    with axioms of their own. *)
Module IntegerFloats := SpecificFloat StdZRadix2.
Module IntegerInterval := IntervalTactic IntegerFloats.
Import IntegerInterval.

Definition cosine_F (d : nat) (x : vec) : R := sum d (fun i => 1 - cos (x i)).
Definition cosine_gradF (x : vec) : vec := fun i => sin (x i).

Lemma cosine_nonneg d x : 0 <= cosine_F d x.
Proof. apply sum_nonneg. intros i _. assert (H := COS_bound (x i)). lra. Qed.

Lemma derivable_pt_lim_sum d (f df : nat -> R -> R) s :
  (forall i, (i < d)%nat -> derivable_pt_lim (f i) s (df i s)) ->
  derivable_pt_lim (fun s => sum d (fun i => f i s)) s (sum d (fun i => df i s)).
Proof.
  induction d as [|d IH]; intros H; simpl.
  - apply derivable_pt_lim_const.
  - apply (derivable_pt_lim_plus (fun s => sum d (fun i => f i s))); [|apply H; lia].
    apply IH. intros i Hi. apply H. lia.
Qed.

Lemma cosine_gradient d : gradient d (cosine_F d) cosine_gradF.
Proof.
  intros x u s. unfold cosine_F, cosine_gradF.
  apply (derivable_pt_lim_sum d (fun i s => 1 - cos (x i + s * u i))
           (fun i s => sin (x i + s * u i) * u i)).
  intros i _.
  replace (sin (x i + s * u i) * u i) with (0 - (- sin (x i + s * u i) * (0 + (1 * u i + s * 0)))) by ring.
  apply (derivable_pt_lim_minus (fun _ => 1) (fun s => cos (x i + s * u i)));
    [apply derivable_pt_lim_const|].
  apply (derivable_pt_lim_comp (fun s => x i + s * u i) cos); [|apply derivable_pt_lim_cos].
  apply (derivable_pt_lim_plus (fun _ => x i)); [apply derivable_pt_lim_const|].
  apply (derivable_pt_lim_mult (fun s => s) (fun _ => u i));
    [apply derivable_pt_lim_id | apply derivable_pt_lim_const].
Qed.

Lemma sin_lipschitz a b : (sin b - sin a) ^ 2 <= (b - a) ^ 2.
Proof.
  assert (H : forall a b, a < b -> (sin b - sin a) ^ 2 <= (b - a) ^ 2).
  { clear. intros a b Hab.
    destruct (MVT_cor2 sin cos a b Hab ltac:(intros; apply derivable_pt_lim_sin)) as (c & -> & _).
    assert (Hc := COS_bound c). assert (Hc2 : cos c ^ 2 <= 1) by nra.
    assert (Hsq := pow2_ge_0 (b - a)).
    replace ((cos c * (b - a)) ^ 2) with (cos c ^ 2 * (b - a) ^ 2) by ring. nra. }
  destruct (Rtotal_order a b) as [Hlt | [-> | Hgt]].
  - apply H. exact Hlt.
  - right. ring.
  - specialize (H b a Hgt). replace ((sin b - sin a) ^ 2) with ((sin a - sin b) ^ 2) by ring.
    replace ((b - a) ^ 2) with ((a - b) ^ 2) by ring. exact H.
Qed.

Lemma cosine_smooth d : smooth d 1 (cosine_F d) cosine_gradF.
Proof.
  apply smooth_of_lipschitz_gradient; [lra | apply cosine_gradient|].
  intros x y. unfold norm_sq, cosine_gradF. replace (1 ^ 2) with 1 by ring. rewrite Rmult_1_l.
  apply sum_le. intros i _. apply sin_lipschitz.
Qed.

(** [n] steps; before each, [policy] sees the number of steps left, the iterate and the
    accumulator and names the batch size, at least one. *)
Fixpoint cosine_run (n : nat) (policy : nat -> vec -> vec -> R) (alpha h eps sigma : R)
    (x v : vec) : tree :=
  match n with
  | O => Stop
  | S k =>
      let B := Rmax 1 (policy k x v) in
      let g := fun j i => sin (x i) + (if Nat.eqb j 0 then 1 else -1) * (sigma / sqrt B) in
      Step B 2 (fun _ => 1 / 2) g
        (fun j => cosine_run k policy alpha h eps sigma
                    (x_next alpha h eps B x v (g j)) (v_next h B v (g j)))
  end.

Lemma cosine_run_is_adam_run n policy d alpha h eps sigma : 0 <= sigma -> forall x v,
  adam_run d alpha h eps (1 + sigma) cosine_gradF x v (cosine_run n policy alpha h eps sigma x v).
Proof.
  intros Hs. induction n as [|n IH]; intros x v; [exact I|].
  simpl. set (B := Rmax 1 (policy n x v)).
  assert (HB : 1 <= B) by apply Rmax_l.
  assert (Hnoise : 0 <= sigma / sqrt B <= sigma).
  { assert (Hr : 1 <= sqrt B) by (rewrite <- sqrt_1; apply sqrt_le_1_alt; exact HB).
    split; [apply Rmult_le_pos; [exact Hs | left; apply Rinv_0_lt_compat; lra]|].
    apply (Rmult_le_reg_r (sqrt B)); [lra|]. unfold Rdiv.
    rewrite Rmult_assoc, Rinv_l by lra. nra. }
  split; [lra|]. split; [split; [intros; lra | simpl; lra]|]. split.
  - intros i _. unfold mean, cosine_gradF. simpl. lra.
  - intros j _. split; [|apply IH]. intros i _. assert (Hx := SIN_bound (x i)).
    apply Rabs_le. destruct (Nat.eqb j 0); lra.
Qed.

(** The flagship for this problem: every rule for the batch size, every number of steps. *)
Theorem cosine_bound :
  forall (n : nat) (policy : nat -> vec -> vec -> R) (d : nat) (alpha h eps sigma D : R) (x0 : vec),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= sigma ->
  let t := cosine_run n policy alpha h eps sigma x0 zero_vec in
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps cosine_gradF x0 zero_vec)
  <= 2 * sqrt (eps + (1 + sigma) ^ 2)
     * ((cosine_F d x0 - 0) / alpha
        + INR d * (2 * (1 + sigma) + 1 * alpha / 2)
          * (ln (1 + (1 + sigma) ^ 2 / eps) + ln 2 * (D / h))).
Proof.
  intros n policy d alpha h eps sigma D x0 Hh Ha He Hs t HD.
  apply adam_token_half_life; try assumption; try lra.
  - apply cosine_smooth.
  - apply cosine_nonneg.
  - apply cosine_run_is_adam_run. exact Hs.
Qed.

(** A ramp that doubles the batch at each of three steps, 1 + 2 + 4 tokens. *)
Definition doubling (k : nat) (_ _ : vec) : R := match k with 0%nat => 4 | 1%nat => 2 | _ => 1 end.

Lemma doubling_tokens alpha h eps sigma x v w :
  path_of (cosine_run 3 doubling alpha h eps sigma x v) w -> tokens w <= 7.
Proof.
  simpl. rewrite (Rmax_left 1 1), (Rmax_right 1 2), (Rmax_right 1 4) by lra.
  intros (j1 & w1 & _ & (j2 & w2 & _ & (j3 & w3 & _ & Hw & ->) & ->) & ->).
  subst w3. simpl. lra.
Qed.

(** Ten coordinates from [x_i = 1], half-life 8 tokens, [alpha = 1/10], [eps = 1/10],
    [sigma = 1/2]: the value of the bound in an interval of width 1/1000. *)
Theorem cosine_bound_enclosed :
  492.870 <= 2 * sqrt (1 / 10 + (1 + 1 / 2) ^ 2)
     * ((10 * (1 - cos 1) - 0) / (1 / 10)
        + 10 * (2 * (1 + 1 / 2) + 1 * (1 / 10) / 2)
          * (ln (1 + (1 + 1 / 2) ^ 2 / (1 / 10)) + ln 2 * (7 / 8)))
  <= 492.871.
Proof. split; interval with (i_prec 30). Qed.

(** So the sum of weighted squared gradients of this run is at most 492.871 on average. *)
Corollary cosine_run_bounded :
  E (cosine_run 3 doubling (1 / 10) 8 (1 / 10) (1 / 2) (fun _ => 1) zero_vec)
    (weighted_gradients 10 (1 / 10) 8 (1 / 10) cosine_gradF (fun _ => 1) zero_vec)
  <= 492.871.
Proof.
  assert (H := cosine_bound 3 doubling 10 (1 / 10) 8 (1 / 10) (1 / 2) 7 (fun _ => 1)
    ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra) (doubling_tokens _ _ _ _ _ _)).
  replace (cosine_F 10 (fun _ => 1)) with (10 * (1 - cos 1)) in H
    by (unfold cosine_F; rewrite sum_const; simpl; ring).
  replace (INR 10) with 10 in H by (simpl; ring).
  apply Rle_trans with (1 := H). apply cosine_bound_enclosed.
Qed.

(** The same problem with momentum: [n] steps from step [k] on, batch sizes [B]. *)
Fixpoint cosine_momentum_run (alpha h eps sigma : R) (B : nat -> R) (W : nat -> nat -> R)
    (x0 : vec) (n k : nat) (s : nat -> vec) : tree :=
  match n with
  | O => Stop
  | S n' =>
      let g := fun j i => sin (x_seq alpha h eps B W x0 s k i)
                          + (if Nat.eqb j 0 then 1 else -1) * (sigma / sqrt (B k)) in
      Step (B k) 2 (fun _ => 1 / 2) g
        (fun j => cosine_momentum_run alpha h eps sigma B W x0 n' (S k) (extend k s (g j)))
  end.

Lemma cosine_momentum_run_is_momentum_run d alpha h eps sigma B W x0 n :
  0 <= sigma -> (forall k, 1 <= B k) -> forall k s,
  momentum_run d alpha h eps (1 + sigma) B W cosine_gradF x0 (k + n) k s
    (cosine_momentum_run alpha h eps sigma B W x0 n k s).
Proof.
  intros Hs HB. induction n as [|n IH]; intros k s; [simpl; lia|].
  simpl. assert (HBk := HB k).
  assert (Hnoise : 0 <= sigma / sqrt (B k) <= sigma).
  { assert (Hr : 1 <= sqrt (B k)) by (rewrite <- sqrt_1; apply sqrt_le_1_alt; exact HBk).
    split; [apply Rmult_le_pos; [exact Hs | left; apply Rinv_0_lt_compat; lra]|].
    apply (Rmult_le_reg_r (sqrt (B k))); [lra|]. unfold Rdiv.
    rewrite Rmult_assoc, Rinv_l by lra. nra. }
  split; [reflexivity|]. split; [split; [intros; lra | simpl; lra]|]. split.
  - intros i _. unfold mean, cosine_gradF. simpl. lra.
  - intros j _. split.
    + intros i _. assert (Hx := SIN_bound (x_seq alpha h eps B W x0 s k i)).
      apply Rabs_le. destruct (Nat.eqb j 0); lra.
    + rewrite Nat.add_succ_r. apply (IH (S k)).
Qed.

(** The momentum bound for it, with any [beta1] and any deterministic batches of at least one. *)
Theorem cosine_momentum_bound :
  forall (N : nat) (d : nat) (alpha h eps sigma beta1 : R) (B : nat -> R) (x0 : vec),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= sigma -> 0 <= beta1 < 1 -> (forall k, 1 <= B k) ->
  let W := average_weights beta1 in
  let R' := 1 + sigma in
  let zero := fun _ : nat => zero_vec in
  E (cosine_momentum_run alpha h eps sigma B W x0 N 0 zero)
    (fun w => weighted_gradients_momentum d alpha h eps B W cosine_gradF x0 N (gradients 0 zero w))
  <= 2 * sqrt (eps + R' ^ 2)
     * ((cosine_F d x0 - 0) / alpha
        + INR d * (R' / 2 * constant_A h B W N + R' * constant_A' h B W N
                   + 1 * alpha / 2 * constant_2 h B W N
                   + 1 ^ 2 * alpha ^ 2 / (4 * R') * constant_3 h B W N * constant_2 h B W N)
          * (ln (1 + R' ^ 2 / eps) + ln 2 * (sum N B / h))).
Proof.
  intros N d alpha h eps sigma beta1 B x0 Hh Ha He Hs Hb1 HB W R' zero.
  apply adam_token_half_life_momentum_schedule; try assumption; unfold R'; try lra.
  - apply cosine_gradient.
  - intros x y. unfold norm_sq, cosine_gradF. replace (1 ^ 2) with 1 by ring. rewrite Rmult_1_l.
    apply sum_le. intros i _. apply sin_lipschitz.
  - apply cosine_nonneg.
  - intros k. specialize (HB k). lra.
  - intros n j _. apply average_weights_nonneg. exact Hb1.
  - intros n. apply average_weights_sum. exact Hb1.
  - apply (cosine_momentum_run_is_momentum_run d alpha h eps sigma B W x0 N Hs HB 0).
Qed.

(** ** The norm test *)

(** Multiplicative two-point noise, [g = G (1 + eta)] or [G (1 - eta)], passes the test. *)
Fixpoint norm_test_tree (alpha beta1 beta2 eta : R) (gradF : vec -> vec) (n : nat) (w m v : vec) : tree :=
  match n with
  | O => Stop
  | S k =>
      let g := fun j i => gradF w i * (1 + (if Nat.eqb j 0 then 1 else -1) * eta) in
      Step 1 2 (fun _ => 1 / 2) g (fun j =>
        let m' := m_step beta1 m (g j) in let v' := v_step beta2 v (g j) in
        norm_test_tree alpha beta1 beta2 eta gradF k (w_step alpha w m' v') m' v')
  end.

Lemma norm_test_tree_passes d alpha beta1 beta2 eta gradF n : forall w m v,
  norm_test_run d alpha beta1 beta2 eta gradF n w m v
    (norm_test_tree alpha beta1 beta2 eta gradF n w m v).
Proof.
  induction n as [|n IH]; intros w m v; [exact I|]. simpl.
  split; [split; [intros; lra | simpl; lra]|]. split; [|split].
  - intros i _. unfold mean. simpl. lra.
  - intros i _. unfold mean. simpl. right. field.
  - intros j _. apply IH.
Qed.

(** The step size must be small against [sqrt v_0 / L]: in [f w = w^2 / 2] without momentum and
    noise, from [w = alpha / 2] and [v = alpha^2 / 4], the iterate jumps between [alpha / 2] and
    [- alpha / 2] for ever, whatever [beta2]. *)
Lemma two_cycle alpha beta2 (sign : R) : 0 < alpha -> sign ^ 2 = 1 ->
  let w : vec := fun _ => sign * (alpha / 2) in
  let v : vec := fun _ => alpha ^ 2 / 4 in
  let m' := m_step 0 zero_vec w in let v' := v_step beta2 v w in
  forall i, v' i = v i /\ w_step alpha w m' v' i = - w i.
Proof.
  intros Ha Hsign w v m' v' i.
  assert (Hv : v' i = v i).
  { unfold v', v_step, v, w.
    replace ((sign * (alpha / 2)) ^ 2) with (sign ^ 2 * (alpha ^ 2 / 4)) by field.
    rewrite Hsign. ring. }
  split; [exact Hv|].
  unfold w_step. rewrite Hv. unfold v.
  replace (alpha ^ 2 / 4) with ((alpha / 2) ^ 2) by field. rewrite sqrt_pow2 by lra.
  unfold m', m_step, w, zero_vec. field. lra.
Qed.
