(** Momentum under a deterministic batch schedule.

    Steps are numbered from 0; [B k] is the batch size of step [k], [s k] its gradient.
      v (k+1) = beta_k v k + (1 - beta_k) (s k)^2,          v 0 = 0
      m n     = sum over j <= n of W n j * s j
      x (n+1) = x n - alpha sqrt (1 - beta_n) m n / sqrt (v (n+1) + eps)
    The weights [W n j >= 0] are fixed in advance, with sum over j at most one: an
    exponential average with a constant [beta1] or with a half-life in tokens. *)

From Coq Require Import Reals Lra Lia Psatz List FunctionalExtensionality.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth Sharp Triangle.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** ** The algorithm, driven by a sequence of gradients *)

Section Algorithm.
Context (d : nat) (alpha h eps : R) (B : nat -> R) (W : nat -> nat -> R) (x0 : vec).

Definition tokens_before (n : nat) : R := sum n B.

Definition v_seq (s : nat -> vec) (n : nat) (i : nat) : R :=
  decayed (fun k => beta2 h (B k)) (fun k => (1 - beta2 h (B k)) * s k i ^ 2) 0 n.

Definition m_seq (s : nat -> vec) (n : nat) (i : nat) : R := sum (S n) (fun j => W n j * s j i).

Fixpoint x_seq (s : nat -> vec) (n : nat) : vec :=
  match n with
  | O => x0
  | S k => fun i => x_seq s k i - alpha * sqrt (1 - beta2 h (B k))
                                  * (m_seq s k i / sqrt (v_seq s (S k) i + eps))
  end.

(** [W] and the schedule enter the bound through these sums alone.  [n - j] is the lag. *)

(** [sqrt (1 - 2^(-(D_n - D_(j-1))/h))]: the share of [v] that is younger than the lag. *)
Definition lag_root (n j : nat) : R :=
  sqrt (1 - beta2 h (tokens_before (S n) - tokens_before j)).

(** [2^((D_n - D_j)/h)]: how much of [v] can be forgotten over the lag. *)
Definition lag_growth (n j : nat) : R :=
  Rpower 2 ((tokens_before (S n) - tokens_before (S j)) / h).

Definition weight (n : nat) : R := sqrt (1 - beta2 h (B n)).

(** The weight of [|grad F (x j)|^2] in the bound. *)
Definition momentum_weight (N j : nat) : R :=
  sum (N - j) (fun k => W (j + k) j * weight (j + k)).

Definition lag_A (N j : nat) : R :=
  sum (N - j) (fun k => W (j + k) j * lag_growth (j + k) j * weight (j + k) * lag_root (j + k) j).

Definition lag_A' (N j : nat) : R :=
  sum (N - S j) (fun k =>
    W (S j + k) j * lag_growth (S j + k) j * weight (S j + k) * lag_root (S j + k) j).

Definition lag_2 (N j : nat) : R :=
  sum (N - j) (fun k => W (j + k) j * lag_growth (j + k) j * (1 - beta2 h (B (j + k)))).

Definition lag_3 (N l : nat) : R :=
  sum (N - S l) (fun k => sum (S l) (fun j =>
    W (S l + k) j * INR (S l + k - j) * weight (S l + k) / lag_root (S l + k) j)).

End Algorithm.

(** ** The run as a tree *)

Definition extend (k : nat) (s : nat -> vec) (g : vec) : nat -> vec :=
  fun n => if Nat.eqb n k then g else s n.

(** The gradients of a run: [s] before step [k], the path [w] from then on. *)
Fixpoint gradients (k : nat) (s : nat -> vec) (w : path) : nat -> vec :=
  match w with
  | [] => s
  | (_, g) :: w' => gradients (S k) (extend k s g) w'
  end.

(** From step [k] with gradients [s] so far, [t] is a run of [N] steps with the batch sizes
    [B]; each draw is unbiased at the current iterate and bounded by [R] (written [Rg]). *)
Fixpoint momentum_run (d : nat) (alpha h eps Rg : R) (B : nat -> R) (W : nat -> nat -> R)
    (gradF : vec -> vec) (x0 : vec) (N k : nat) (s : nat -> vec) (t : tree) : Prop :=
  match t with
  | Stop => k = N
  | Step b m p g next =>
      b = B k /\ distribution m p
      /\ (forall i, (i < d)%nat ->
            mean m p (fun j => g j i) = gradF (x_seq alpha h eps B W x0 s k) i)
      /\ (forall j, (j < m)%nat ->
            (forall i, (i < d)%nat -> Rabs (g j i) <= Rg)
            /\ momentum_run d alpha h eps Rg B W gradF x0 N (S k) (extend k s (g j)) (next j))
  end.

Lemma gradients_before w : forall k s n, (n < k)%nat -> gradients k s w n = s n.
Proof.
  induction w as [|[b g] w IH]; intros k s n Hn; [reflexivity|].
  simpl. rewrite IH by lia. unfold extend. destruct (Nat.eqb_spec n k); [lia | reflexivity].
Qed.

Lemma x_seq_past alpha h eps B W x0 s s' n :
  (forall j, (j < n)%nat -> s j = s' j) ->
  x_seq alpha h eps B W x0 s n = x_seq alpha h eps B W x0 s' n.
Proof.
  intros H. induction n as [|n IH]; [reflexivity|].
  simpl x_seq. rewrite IH by (intros; apply H; lia).
  apply functional_extensionality. intros i. f_equal. f_equal.
  assert (Hm : m_seq W s n i = m_seq W s' n i).
  { apply sum_ext. intros j Hj. rewrite H by lia. reflexivity. }
  assert (Hv : v_seq h B s (S n) i = v_seq h B s' (S n) i).
  { unfold v_seq. clear Hm IH. revert H. generalize (S n) as k. induction k as [|k IHk]; intros H.
    - reflexivity.
    - simpl. rewrite IHk by (intros; apply H; lia). rewrite (H k) by lia. reflexivity. }
  rewrite Hm, Hv. reflexivity.
Qed.

Lemma v_seq_past h B s s' n i :
  (forall j, (j < n)%nat -> s j = s' j) -> v_seq h B s n i = v_seq h B s' n i.
Proof.
  intros H. unfold v_seq. induction n as [|n IH]; [reflexivity|].
  simpl. rewrite IH by (intros; apply H; lia). rewrite (H n) by lia. reflexivity.
Qed.

Lemma momentum_run_probability d alpha h eps Rg B W gradF x0 N t : forall k s,
  momentum_run d alpha h eps Rg B W gradF x0 N k s t -> probability t.
Proof.
  induction t as [|b m p g next IH]; simpl; intros k s H; [exact I|].
  destruct H as (_ & Hd & _ & Hn). split; [exact Hd|].
  intros j Hj. destruct (Hn j Hj) as [_ Hr]. exact (IH j _ _ Hr).
Qed.

(** All gradients of a run are bounded. *)
Definition bounded_seq (d : nat) (Rg : R) (n : nat) (s : nat -> vec) : Prop :=
  forall l, (l < n)%nat -> forall i, (i < d)%nat -> Rabs (s l i) <= Rg.

Lemma momentum_run_bounded d alpha h eps Rg B W gradF x0 N t : forall k s w,
  momentum_run d alpha h eps Rg B W gradF x0 N k s t -> bounded_seq d Rg k s -> path_of t w ->
  bounded_seq d Rg N (gradients k s w).
Proof.
  induction t as [|b m p g next IH]; simpl; intros k s w H Hs Hw.
  - subst. exact Hs.
  - destruct H as (_ & _ & _ & Hn). destruct Hw as (j & w' & Hj & Hw' & ->). simpl.
    destruct (Hn j Hj) as [Hg Hr]. apply (IH j); [exact Hr | | exact Hw'].
    intros l Hl i Hi. unfold extend. destruct (Nat.eqb_spec l k); [apply Hg; exact Hi|].
    apply Hs; [lia | exact Hi].
Qed.

(** To compare two expectations it is enough to compare them from step [j] on. *)
Lemma E_from_step d alpha h eps Rg B W gradF x0 N j (X Y : (nat -> vec) -> R) t : forall k s,
  (k <= j)%nat -> (j < N)%nat ->
  momentum_run d alpha h eps Rg B W gradF x0 N k s t -> bounded_seq d Rg k s ->
  (forall b m p g next s',
     let t' := Step b m p g next in
     momentum_run d alpha h eps Rg B W gradF x0 N j s' t' -> bounded_seq d Rg j s' ->
     E t' (fun w => X (gradients j s' w)) <= E t' (fun w => Y (gradients j s' w))) ->
  E t (fun w => X (gradients k s w)) <= E t (fun w => Y (gradients k s w)).
Proof.
  induction t as [|b m p g next IH]; intros k s Hk HjN Hrun Hs H.
  - simpl in Hrun. lia.
  - destruct (Nat.eq_dec k j) as [->|Hne]; [apply H; assumption|].
    destruct Hrun as (_ & Hd & _ & Hn). simpl. apply mean_le; [exact Hd|]. intros j' Hj'.
    destruct (Hn j' Hj') as [Hg Hr]. apply (IH j' (S k)); [lia | exact HjN | exact Hr | | exact H].
    intros l Hl i Hi. unfold extend. destruct (Nat.eqb_spec l k); [apply Hg; exact Hi|].
    apply Hs; [lia | exact Hi].
Qed.

(** ** The accumulator over a lag *)

Lemma beta2_0 h : beta2 h 0 = 1.
Proof. unfold beta2. replace (- (0 / h)) with 0 by (unfold Rdiv; ring). apply Rpower_O. lra. Qed.

Lemma beta2_add h S T : beta2 h (S + T) = beta2 h S * beta2 h T.
Proof. unfold beta2. rewrite <- Rpower_plus. f_equal. unfold Rdiv. ring. Qed.

Lemma beta2_le_1 h S : 0 < h -> 0 <= S -> 0 < beta2 h S <= 1.
Proof.
  intros Hh [HS | <-].
  - assert (H := beta2_bounds h S Hh HS). lra.
  - rewrite beta2_0. lra.
Qed.

Lemma tokens_before_mono B j k : (forall n, 0 < B n) ->
  tokens_before B j <= tokens_before B (j + k).
Proof.
  intros HB. induction k as [|k IH]; [rewrite Nat.add_0_r; lra|].
  rewrite Nat.add_succ_r. unfold tokens_before in *. simpl. specialize (HB (j + k)%nat). lra.
Qed.

(** What is left of [v] after a lag, and how much may have come. *)
Lemma v_over_lag h B s i R2 j k :
  0 < h -> (forall n, 0 < B n) -> 0 <= R2 ->
  (forall l, (j <= l < j + k)%nat -> s l i ^ 2 <= R2) ->
  let rho := beta2 h (tokens_before B (j + k) - tokens_before B j) in
  0 <= v_seq h B s (j + k) i - rho * v_seq h B s j i <= (1 - rho) * R2.
Proof.
  intros Hh HB HR2. induction k as [|k IH]; intros Hs.
  - rewrite Nat.add_0_r. cbv zeta.
    replace (tokens_before B j - tokens_before B j) with 0 by ring. rewrite beta2_0. lra.
  - specialize (IH ltac:(intros; apply Hs; lia)). cbv zeta in *.
    rewrite Nat.add_succ_r.
    replace (tokens_before B (S (j + k)) - tokens_before B j)
      with (B (j + k)%nat + (tokens_before B (j + k) - tokens_before B j))
      by (unfold tokens_before; simpl; ring).
    rewrite beta2_add.
    set (rho := beta2 h (tokens_before B (j + k) - tokens_before B j)) in *.
    destruct (beta2_bounds h (B (j + k)%nat) Hh (HB _)) as [Hb0 Hb1].
    change (v_seq h B s (S (j + k)) i)
      with (beta2 h (B (j + k)%nat) * v_seq h B s (j + k) i
            + (1 - beta2 h (B (j + k)%nat)) * s (j + k)%nat i ^ 2).
    set (b := beta2 h (B (j + k)%nat)) in *.
    assert (Hsq := pow2_ge_0 (s (j + k)%nat i)). assert (HsR := Hs (j + k)%nat ltac:(lia)).
    set (e := v_seq h B s (j + k) i - rho * v_seq h B s j i) in *.
    replace (b * v_seq h B s (j + k) i + (1 - b) * s (j + k)%nat i ^ 2 - b * rho * v_seq h B s j i)
      with (b * e + (1 - b) * s (j + k)%nat i ^ 2) by (unfold e; ring).
    assert (0 <= b * e) by (apply Rmult_le_pos; lra).
    assert (b * e <= b * ((1 - rho) * R2)) by (apply Rmult_le_compat_l; lra).
    assert (0 <= (1 - b) * s (j + k)%nat i ^ 2) by (apply Rmult_le_pos; lra).
    assert ((1 - b) * s (j + k)%nat i ^ 2 <= (1 - b) * R2) by (apply Rmult_le_compat_l; lra).
    split; lra.
Qed.

Lemma v_seq_nonneg h B s n i : 0 < h -> (forall k, 0 < B k) -> 0 <= v_seq h B s n i.
Proof.
  intros Hh HB. apply decayed_nonneg; [lra | |]; intros k;
    destruct (beta2_bounds h (B k) Hh (HB k)) as [Hb0 Hb1]; [lra|].
  apply Rmult_le_pos; [lra | apply pow2_ge_0].
Qed.

Lemma v_seq_le h B s i R2 n :
  0 < h -> (forall k, 0 < B k) -> 0 <= R2 -> (forall l, (l < n)%nat -> s l i ^ 2 <= R2) ->
  v_seq h B s n i <= R2.
Proof.
  intros Hh HB HR2 Hs.
  assert (H := v_over_lag h B s i R2 0 n Hh HB HR2 ltac:(intros; apply Hs; lia)).
  cbv zeta in H. simpl in H. unfold tokens_before at 2 in H. simpl in H.
  change (v_seq h B s 0 i) with 0 in H. rewrite Rminus_0_r in H.
  assert (Hb := beta2_le_1 h (tokens_before B n) Hh ltac:(apply sum_nonneg; intros; left; apply HB)).
  assert ((1 - beta2 h (tokens_before B n)) * R2 <= 1 * R2) by (apply Rmult_le_compat_r; lra). lra.
Qed.

(** Forgetting over a lag is at most [lag_growth]. *)
Lemma growth_over_lag h eps B s i Rg j k :
  0 < h -> 0 < eps -> (forall n, 0 < B n) -> 0 <= Rg ->
  (forall l, (l < S j + k)%nat -> s l i ^ 2 <= Rg ^ 2) ->
  / (eps + v_seq h B s (S j + k) i)
  <= lag_growth h B (j + k) j * / (eps + v_seq h B s (S j) i).
Proof.
  intros Hh He HB HR Hs.
  assert (H := v_over_lag h B s i (Rg ^ 2) (S j) k Hh HB (pow2_ge_0 Rg) ltac:(intros; apply Hs; lia)).
  cbv zeta in H.
  assert (Hmono := tokens_before_mono B (S j) k HB).
  destruct (beta2_le_1 h (tokens_before B (S j + k) - tokens_before B (S j)) Hh ltac:(lra)) as [Hr0 Hr1].
  replace (lag_growth h B (j + k) j) with (/ beta2 h (tokens_before B (S j + k) - tokens_before B (S j))).
  2:{ unfold lag_growth, beta2. rewrite Rpower_Ropp, Rinv_inv.
      replace (S j + k)%nat with (S (j + k)) by lia. reflexivity. }
  set (rho := beta2 h _) in *.
  assert (Hv := v_seq_nonneg h B s (S j) i Hh HB).
  rewrite <- Rinv_mult. apply Rinv_le_contravar; [apply Rmult_lt_0_compat; lra|].
  assert (rho * eps <= 1 * eps) by (apply Rmult_le_compat_r; lra).
  rewrite Rmult_plus_distr_l. lra.
Qed.

(** ** The lagged one-step lemma *)

Lemma lagged_one_step d alpha h eps Rg B W gradF x0 N j n i b m p g next s :
  let t := Step b m p g next in
  0 < h -> 0 < eps -> 0 <= Rg -> (forall k, 0 < B k) ->
  (j <= n < N)%nat -> (i < d)%nat ->
  momentum_run d alpha h eps Rg B W gradF x0 N j s t -> bounded_seq d Rg j s ->
  E t (fun w => let s' := gradients j s w in
    gradF (x_seq alpha h eps B W x0 s' j) i ^ 2 / (2 * sqrt (eps + Rg ^ 2))
    - Rg * lag_root h B n j / 2 * (s' j i ^ 2 / (eps + v_seq h B s' (S n) i)))
  <= E t (fun w => let s' := gradients j s w in
    gradF (x_seq alpha h eps B W x0 s' j) i * s' j i / sqrt (eps + v_seq h B s' (S n) i)).
Proof.
  intros t Hh He HR HB [Hjn HnN] Hi Hrun Hs.
  assert (Hp := momentum_run_probability _ _ _ _ _ _ _ _ _ _ _ _ _ Hrun).
  assert (HR2 := pow2_ge_0 Rg).
  set (G := gradF (x_seq alpha h eps B W x0 s j) i).
  assert (HG : forall w, gradF (x_seq alpha h eps B W x0 (gradients j s w) j) i = G).
  { intros w. unfold G. rewrite (x_seq_past alpha h eps B W x0 (gradients j s w) s); [reflexivity|].
    intros l Hl. apply gradients_before. exact Hl. }
  set (rho := beta2 h (tokens_before B (S n) - tokens_before B j)).
  set (u := rho * v_seq h B s j i). set (r := Rg * lag_root h B n j).
  assert (Htok : 0 <= tokens_before B (S n) - tokens_before B j).
  { assert (H := tokens_before_mono B j (S n - j) HB).
    replace (j + (S n - j))%nat with (S n) in H by lia. lra. }
  destruct (beta2_le_1 h _ Hh Htok) as [Hr0 Hr1]. fold rho in Hr0, Hr1.
  assert (Hroot2 : r ^ 2 = (1 - rho) * Rg ^ 2).
  { unfold r, lag_root. fold rho.
    replace ((Rg * sqrt (1 - rho)) ^ 2) with (Rg ^ 2 * (sqrt (1 - rho) * sqrt (1 - rho))) by ring.
    rewrite sqrt_sqrt by lra. ring. }
  assert (Hr : 0 <= r) by (apply Rmult_le_pos; [exact HR | apply sqrt_pos]).
  assert (Hsq : forall l, (l < j)%nat -> s l i ^ 2 <= Rg ^ 2).
  { intros l Hl. apply pow2_le_of_Rabs. apply Hs; assumption. }
  assert (Hvj := v_seq_nonneg h B s j i Hh HB).
  assert (Hvj2 := v_seq_le h B s i (Rg ^ 2) j Hh HB HR2 Hsq).
  assert (Hu : 0 <= u) by (apply Rmult_le_pos; lra).
  assert (Hle : eps + (u + r ^ 2) <= eps + Rg ^ 2).
  { rewrite Hroot2. assert (u <= rho * Rg ^ 2) by (apply Rmult_le_compat_l; lra). lra. }
  set (Q := sqrt (eps + (u + r ^ 2))).
  assert (HQ : 0 < Q) by (apply sqrt_lt_R0; assert (Hr2 := pow2_ge_0 r); lra).
  assert (HQroot : Q <= sqrt (eps + Rg ^ 2)) by (apply sqrt_le_1_alt; exact Hle).
  (* the mean of the leading term *)
  assert (Hlead : E t (fun w => G * gradients j s w j i / Q) = G ^ 2 / Q).
  { unfold t. simpl E. destruct Hrun as (_ & Hd & Hub & Hn).
    rewrite (mean_ext m p _ (fun j' => G * g j' i / Q)).
    - apply (conditional_unbiasedness m p (fun j' => g j' i)). apply Hub. exact Hi.
    - intros j' Hj'. destruct (Hn j' Hj') as [_ Hr'].
      rewrite (E_ext (next j') _ (fun _ => G * g j' i / Q)).
      + apply E_const. exact (momentum_run_probability _ _ _ _ _ _ _ _ _ _ _ _ _ Hr').
      + intros w _. simpl. rewrite gradients_before by lia.
        unfold extend. rewrite Nat.eqb_refl. reflexivity. }
  apply Rle_trans with (E t (fun w =>
    G * gradients j s w j i / Q
    + (- (1 / 2 * (G ^ 2 / Q))
       + - (r / 2) * (gradients j s w j i ^ 2 / (eps + v_seq h B (gradients j s w) (S n) i))))).
  - rewrite E_plus, Hlead, E_plus, E_const, E_scal by exact Hp.
    rewrite (E_ext t _ (fun w => G ^ 2 / (2 * sqrt (eps + Rg ^ 2))
      + - (r / 2) * (gradients j s w j i ^ 2 / (eps + v_seq h B (gradients j s w) (S n) i)))).
    2:{ intros w _. cbv zeta. rewrite HG. unfold r. field.
        assert (Hv := v_seq_nonneg h B (gradients j s w) (S n) i Hh HB).
        assert (0 < sqrt (eps + Rg ^ 2)) by lra. lra. }
    rewrite E_plus, E_const, E_scal by exact Hp.
    assert (HGQ : G ^ 2 / (2 * sqrt (eps + Rg ^ 2)) <= G ^ 2 / (2 * Q)).
    { apply Rmult_le_compat_l; [apply pow2_ge_0 | apply Rinv_le_contravar; lra]. }
    replace (G ^ 2 / (2 * Q)) with (G ^ 2 / Q - 1 / 2 * (G ^ 2 / Q)) in HGQ by (field; lra).
    lra.
  - apply E_le; [exact Hp|]. intros w Hw. cbv zeta. rewrite HG.
    set (s' := gradients j s w).
    assert (Hs' : bounded_seq d Rg N s')
      by exact (momentum_run_bounded _ _ _ _ _ _ _ _ _ _ _ _ _ _ Hrun Hs Hw).
    assert (Hlag := v_over_lag h B s' i (Rg ^ 2) j (S n - j) Hh HB HR2
      ltac:(intros l Hl; apply pow2_le_of_Rabs; apply Hs'; [lia | exact Hi])).
    cbv zeta in Hlag. replace (j + (S n - j))%nat with (S n) in Hlag by lia. fold rho in Hlag.
    rewrite (v_seq_past h B s' s j i) in Hlag by (intros; apply gradients_before; assumption).
    fold u in Hlag. rewrite <- Hroot2 in Hlag.
    assert (Hsharp := sharp_outcome (1 / 2) eps u (v_seq h B s' (S n) i - u) r G (s' j i)
      ltac:(lra) He Hu Hr Hlag).
    replace (u + (v_seq h B s' (S n) i - u)) with (v_seq h B s' (S n) i) in Hsharp by ring.
    fold Q in Hsharp. replace (r / (4 * (1 / 2))) with (r / 2) in Hsharp by field. lra.
Qed.

(** ** One run *)

Section Run.
Context (d : nat) (alpha h eps Rg L : R) (B : nat -> R) (W : nat -> nat -> R) (x0 : vec).
Context (F : vec -> R) (gradF : vec -> vec) (s : nat -> vec) (N : nat).
Context (Hh : 0 < h) (Ha : 0 < alpha) (He : 0 < eps) (HR : 0 < Rg) (HL : 0 <= L).
Context (HB : forall k, 0 < B k).
Context (HW : forall n j, (j <= n)%nat -> 0 <= W n j).
Context (HW1 : forall n, sum (S n) (fun j => W n j) <= 1).
Context (Hsm : smooth d L F gradF) (Hlip : lipschitz_gradient d L gradF).
Context (Hs : bounded_seq d Rg N s).

Notation x := (x_seq alpha h eps B W x0 s).
Notation m := (m_seq W s).
Notation v := (v_seq h B s).
Notation c := (fun n => 1 - beta2 h (B n)).

(** [(1 - beta_n) |m n / sqrt (eps + v)|^2] and the same for the gradient itself. *)
Definition step_size (n : nat) : R := sum d (fun i => c n * m n i ^ 2 / (eps + v (S n) i)).
Definition relative (j : nat) : R := sum d (fun i => c j * s j i ^ 2 / (eps + v (S j) i)).
(** [sum_i s_j^2 / (eps + v_n)], the gradient of step [j] against a later [v]. *)
Definition late (n j : nat) : R := sum d (fun i => s j i ^ 2 / (eps + v (S n) i)).
(** [sum_i G_j s_j / sqrt (eps + v_n)]. *)
Definition inner (n j : nat) : R :=
  sum d (fun i => gradF (x j) i * s j i / sqrt (eps + v (S n) i)).

Lemma c_bounds n : 0 < c n < 1.
Proof. destruct (beta2_bounds h (B n) Hh (HB n)) as [H0 H1]. simpl. lra. Qed.

Lemma weight_sq n : 0 < weight h B n /\ weight h B n * weight h B n = c n.
Proof. destruct (c_bounds n) as [H0 _]. unfold weight. apply sqrt_sq_pos. exact H0. Qed.

Lemma denominator_pos n i : 0 < eps + v n i.
Proof. assert (H := v_seq_nonneg h B s n i Hh HB). lra. Qed.

Lemma step_size_nonneg n : 0 <= step_size n.
Proof.
  apply sum_nonneg. intros i _. destruct (c_bounds n) as [Hc _]. assert (Hp := denominator_pos (S n) i).
  apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply pow2_ge_0] | left; apply Rinv_0_lt_compat; exact Hp].
Qed.

Lemma relative_nonneg j : 0 <= relative j.
Proof.
  apply sum_nonneg. intros i _. destruct (c_bounds j) as [Hc _]. assert (Hp := denominator_pos (S j) i).
  apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply pow2_ge_0] | left; apply Rinv_0_lt_compat; exact Hp].
Qed.

Lemma x_step n i :
  x (S n) i - x n i = - (alpha * weight h B n) * (m n i / sqrt (eps + v (S n) i)).
Proof. simpl x_seq. rewrite (Rplus_comm (v_seq h B s (S n) i) eps). unfold weight. ring. Qed.

Lemma x_step_sq n : norm_sq d (fun i => x (S n) i - x n i) = alpha ^ 2 * step_size n.
Proof.
  unfold norm_sq, step_size. rewrite <- sum_scal. apply sum_ext. intros i _. rewrite x_step.
  destruct (weight_sq n) as [_ Hw]. destruct (sqrt_sq_pos _ (denominator_pos (S n) i)) as [HP HPP].
  set (P := sqrt (eps + v_seq h B s (S n) i)) in *. rewrite <- HPP.
  cbv beta in *. rewrite <- Hw. field. lra.
Qed.

(** Smoothness, step after step. *)
Lemma momentum_descent n :
  F (x n) <= F x0
    + sum n (fun k => - (alpha * weight h B k)
                      * sum d (fun i => gradF (x k) i * m k i / sqrt (eps + v (S k) i))
                      + L * alpha ^ 2 / 2 * step_size k).
Proof.
  induction n as [|n IH]; [simpl; lra|].
  assert (H := Hsm (x n) (x (S n))). cbn [sum].
  change (sum d (fun i => (x (S n) i - x n i) ^ 2)) with (norm_sq d (fun i => x (S n) i - x n i)) in H.
  rewrite x_step_sq in H.
  rewrite (sum_ext d (fun i => gradF (x n) i * (x (S n) i - x n i))
    (fun i => - (alpha * weight h B n) * (gradF (x n) i * m n i / sqrt (eps + v (S n) i)))) in H
    by (intros; rewrite x_step; unfold Rdiv; ring).
  rewrite sum_scal in H. lra.
Qed.

(** The momentum's inner product as a sum over lags. *)
Lemma expand_momentum n :
  sum d (fun i => gradF (x n) i * m n i / sqrt (eps + v (S n) i))
  = sum (S n) (fun j => W n j * sum d (fun i => gradF (x n) i * s j i / sqrt (eps + v (S n) i))).
Proof.
  rewrite (sum_ext d _ (fun i => sum (S n) (fun j =>
             W n j * (gradF (x n) i * s j i / sqrt (eps + v (S n) i))))).
  - rewrite sum_swap. apply sum_ext. intros j _. apply sum_scal.
  - intros i _. unfold m_seq.
    replace (gradF (x n) i * sum (S n) (fun j => W n j * s j i) / sqrt (eps + v (S n) i))
      with (gradF (x n) i / sqrt (eps + v (S n) i) * sum (S n) (fun j => W n j * s j i))
      by (unfold Rdiv; ring).
    rewrite <- sum_scal. apply sum_ext. intros j _. unfold Rdiv. ring.
Qed.

(** How far the iterate moves over a lag. *)
Lemma displacement j k :
  norm_sq d (fun i => x (j + k) i - x j i)
  <= INR k * (alpha ^ 2 * sum k (fun l => step_size (j + l))).
Proof.
  rewrite <- sum_scal.
  rewrite (sum_ext k _ (fun l => norm_sq d (fun i => x (S (j + l)) i - x (j + l) i)))
    by (intros; symmetry; apply x_step_sq).
  unfold norm_sq. rewrite sum_swap, <- sum_scal. apply sum_le. intros i _.
  replace (x (j + k) i - x j i) with (sum k (fun l => x (S (j + l)) i - x (j + l)%nat i)).
  - apply square_of_sum.
  - clear. induction k as [|k IH]; [rewrite Nat.add_0_r; simpl; ring|].
    cbn [sum]. rewrite IH. rewrite Nat.add_succ_r. ring.
Qed.

Lemma lag_root_pos n j : (j <= n)%nat -> 0 < lag_root h B n j.
Proof.
  intros Hj. unfold lag_root. apply sqrt_lt_R0.
  assert (H := tokens_before_mono B j (n - j) HB). replace (j + (n - j))%nat with n in H by lia.
  assert (Ht : 0 < tokens_before B (S n) - tokens_before B j)
    by (unfold tokens_before in *; simpl; specialize (HB n); lra).
  assert (Hb := beta2_bounds h _ Hh Ht). lra.
Qed.

(** The gradient has drifted since step [j]. *)
Lemma drift n j : (j < n)%nat ->
  inner n j
  - (Rg * lag_root h B n j * late n j
     + L ^ 2 * alpha ^ 2 / (4 * Rg) * (INR (n - j) / lag_root h B n j)
       * sum (n - j) (fun l => step_size (j + l)))
  <= sum d (fun i => gradF (x n) i * s j i / sqrt (eps + v (S n) i)).
Proof.
  intros Hj. assert (Hw := lag_root_pos n j ltac:(lia)). set (om := lag_root h B n j) in *.
  assert (Hlam : 0 < Rg * om) by (apply Rmult_lt_0_compat; lra).
  assert (Hcoord : inner n j - (Rg * om * late n j
                    + / (4 * (Rg * om)) * norm_sq d (fun i => gradF (x n) i - gradF (x j) i))
    <= sum d (fun i => gradF (x n) i * s j i / sqrt (eps + v (S n) i))).
  { unfold inner, late, norm_sq. rewrite <- !sum_scal, <- sum_plus, <- sum_minus.
    apply sum_le. intros i _.
    destruct (sqrt_sq_pos _ (denominator_pos (S n) i)) as [HP HPP].
    replace (s j i ^ 2 / (eps + v (S n) i)) with ((s j i / sqrt (eps + v (S n) i)) ^ 2)
      by (set (P := sqrt (eps + v (S n) i)) in *; rewrite <- HPP; field; lra).
    set (P := sqrt (eps + v (S n) i)) in *.
    assert (HY := young (s j i / P) (gradF (x n) i - gradF (x j) i) (Rg * om) Hlam).
    assert (HA := Rle_abs (- (s j i / P * (gradF (x n) i - gradF (x j) i)))).
    rewrite Rabs_Ropp in HA.
    replace (gradF (x n) i * s j i / P)
      with (gradF (x j) i * s j i / P + s j i / P * (gradF (x n) i - gradF (x j) i)) by (field; lra).
    replace ((gradF (x n) i - gradF (x j) i) ^ 2 / (4 * (Rg * om)))
      with (/ (4 * (Rg * om)) * (gradF (x n) i - gradF (x j) i) ^ 2) in HY by (unfold Rdiv; ring).
    lra. }
  apply Rle_trans with (2 := Hcoord). apply Rplus_le_compat_l. apply Ropp_le_contravar.
  apply Rplus_le_compat_l.
  assert (Hd := displacement j (n - j)). replace (j + (n - j))%nat with n in Hd by lia.
  assert (HG := Hlip (x j) (x n)).
  assert (Hinv : 0 <= / (4 * (Rg * om))) by (left; apply Rinv_0_lt_compat; lra).
  apply Rle_trans with (/ (4 * (Rg * om)) * (L ^ 2 *
    (INR (n - j) * (alpha ^ 2 * sum (n - j) (fun l => step_size (j + l)))))).
  - apply Rmult_le_compat_l; [exact Hinv|]. apply Rle_trans with (1 := HG).
    apply Rmult_le_compat_l; [apply pow2_ge_0 | exact Hd].
  - right. field. lra.
Qed.

(** A gradient against a later [v] costs [lag_growth]. *)
Lemma late_le n j : (j <= n < N)%nat -> late n j <= lag_growth h B n j / c j * relative j.
Proof.
  intros Hn. unfold late, relative. rewrite <- sum_scal. apply sum_le. intros i Hi.
  destruct (c_bounds j) as [Hc _]. cbv beta in Hc.
  assert (Hg := growth_over_lag h eps B s i Rg j (n - j) Hh He HB (Rlt_le _ _ HR)
    ltac:(intros l Hl; apply pow2_le_of_Rabs; apply Hs; [lia | exact Hi])).
  replace (S j + (n - j))%nat with (S n) in Hg by lia. replace (j + (n - j))%nat with n in Hg by lia.
  apply (Rmult_le_compat_l (s j i ^ 2)) in Hg; [|apply pow2_ge_0].
  apply Rle_trans with (1 := Hg). right. field. assert (Hp := denominator_pos (S j) i). lra.
Qed.

Lemma step_size_le n : (n < N)%nat -> step_size n <= sum (S n) (fun j => W n j * c n * late n j).
Proof.
  intros Hn. unfold step_size, late.
  rewrite (sum_ext (S n) _ (fun j => sum d (fun i => W n j * c n * (s j i ^ 2 / (eps + v (S n) i)))))
    by (intros; rewrite sum_scal; reflexivity).
  rewrite <- sum_swap. apply sum_le. intros i _.
  assert (Hj := weighted_square_of_sum (S n) (W n) (fun j => s j i)
    ltac:(intros; apply HW; lia) (HW1 n)).
  fold (m n i) in Hj. change (sum (S n) (fun j => W n j * s j i)) with (m n i) in Hj.
  destruct (c_bounds n) as [Hc _]. cbv beta in Hc. assert (Hp := denominator_pos (S n) i).
  assert (Hk : 0 <= c n / (eps + v (S n) i))
    by (apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; exact Hp]).
  apply (Rmult_le_compat_l _ _ _ Hk) in Hj.
  replace (c n * m n i ^ 2 / (eps + v (S n) i)) with (c n / (eps + v (S n) i) * m n i ^ 2)
    by (unfold Rdiv; ring).
  apply Rle_trans with (1 := Hj). right. rewrite <- sum_scal. apply sum_ext. intros j _.
  unfold Rdiv. ring.
Qed.

(** ** Sums over pairs of steps *)

Lemma total_lag_A CA :
  (forall j, (j < N)%nat -> lag_A h B W N j <= CA * c j) ->
  sum N (fun n => sum (S n) (fun j => weight h B n * W n j * lag_root h B n j * late n j))
  <= CA * sum N relative.
Proof.
  intros HC.
  apply Rle_trans with (sum N (fun n => sum (S n) (fun j =>
    W n j * lag_growth h B n j * weight h B n * lag_root h B n j * (/ c j * relative j)))).
  - apply sum_le. intros n Hn. apply sum_le. intros j Hj.
    assert (Hl := late_le n j ltac:(lia)). destruct (weight_sq n) as [Hw _].
    assert (Hk : 0 <= weight h B n * W n j * lag_root h B n j).
    { apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply HW; lia] | apply sqrt_pos]. }
    apply (Rmult_le_compat_l _ _ _ Hk) in Hl. apply Rle_trans with (1 := Hl).
    right. unfold Rdiv. ring.
  - rewrite sum_triangle, <- sum_scal. apply sum_le. intros j Hj. specialize (HC j Hj).
    destruct (c_bounds j) as [Hc _]. cbv beta in Hc.
    rewrite (sum_ext (N - j) _ (fun k => / c j * relative j
      * (W (j + k) j * lag_growth h B (j + k) j * weight h B (j + k) * lag_root h B (j + k) j)))
      by (intros; ring).
    rewrite sum_scal. fold (lag_A h B W N j).
    replace (CA * relative j) with (/ c j * relative j * (CA * c j)) by (field; lra).
    apply Rmult_le_compat_l; [|exact HC].
    apply Rmult_le_pos; [left; apply Rinv_0_lt_compat; exact Hc | apply relative_nonneg].
Qed.

Lemma total_lag_A' CA' :
  (forall j, (j < N)%nat -> lag_A' h B W N j <= CA' * c j) ->
  sum N (fun n => sum n (fun j => weight h B n * W n j * (lag_root h B n j * late n j)))
  <= CA' * sum N relative.
Proof.
  intros HC.
  apply Rle_trans with (sum N (fun n => sum n (fun j =>
    W n j * lag_growth h B n j * weight h B n * lag_root h B n j * (/ c j * relative j)))).
  - apply sum_le. intros n Hn. apply sum_le. intros j Hj.
    assert (Hl := late_le n j ltac:(lia)). destruct (weight_sq n) as [Hw _].
    assert (Hk : 0 <= weight h B n * W n j * lag_root h B n j).
    { apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply HW; lia] | apply sqrt_pos]. }
    apply (Rmult_le_compat_l _ _ _ Hk) in Hl. rewrite <- Rmult_assoc. apply Rle_trans with (1 := Hl).
    right. unfold Rdiv. ring.
  - rewrite sum_strict_triangle, <- sum_scal. apply sum_le. intros j Hj. specialize (HC j Hj).
    destruct (c_bounds j) as [Hc _]. cbv beta in Hc.
    rewrite (sum_ext (N - S j) _ (fun k => / c j * relative j
      * (W (S j + k) j * lag_growth h B (S j + k) j * weight h B (S j + k) * lag_root h B (S j + k) j)))
      by (intros; ring).
    rewrite sum_scal. fold (lag_A' h B W N j).
    replace (CA' * relative j) with (/ c j * relative j * (CA' * c j)) by (field; lra).
    apply Rmult_le_compat_l; [|exact HC].
    apply Rmult_le_pos; [left; apply Rinv_0_lt_compat; exact Hc | apply relative_nonneg].
Qed.

Lemma total_step_size C2 :
  (forall j, (j < N)%nat -> lag_2 h B W N j <= C2 * c j) ->
  sum N step_size <= C2 * sum N relative.
Proof.
  intros HC.
  apply Rle_trans with (sum N (fun n => sum (S n) (fun j =>
    W n j * lag_growth h B n j * c n * (/ c j * relative j)))).
  - apply sum_le. intros n Hn. apply Rle_trans with (1 := step_size_le n Hn).
    apply sum_le. intros j Hj. assert (Hl := late_le n j ltac:(lia)).
    destruct (c_bounds n) as [Hc _]. cbv beta in Hc.
    assert (Hk : 0 <= W n j * c n) by (apply Rmult_le_pos; [apply HW; lia | lra]).
    apply (Rmult_le_compat_l _ _ _ Hk) in Hl. apply Rle_trans with (1 := Hl).
    right. unfold Rdiv. ring.
  - rewrite sum_triangle, <- sum_scal. apply sum_le. intros j Hj. specialize (HC j Hj).
    destruct (c_bounds j) as [Hc _]. cbv beta in Hc.
    rewrite (sum_ext (N - j) _ (fun k => / c j * relative j
      * (W (j + k) j * lag_growth h B (j + k) j * (1 - beta2 h (B (j + k))))))
      by (intros; ring).
    rewrite sum_scal. fold (lag_2 h B W N j).
    replace (C2 * relative j) with (/ c j * relative j * (C2 * c j)) by (field; lra).
    apply Rmult_le_compat_l; [|exact HC].
    apply Rmult_le_pos; [left; apply Rinv_0_lt_compat; exact Hc | apply relative_nonneg].
Qed.

Lemma total_drift C3 :
  (forall l, (l < N)%nat -> lag_3 h B W N l <= C3) ->
  sum N (fun n => sum n (fun j => weight h B n * W n j
    * (INR (n - j) / lag_root h B n j * sum (n - j) (fun l => step_size (j + l)))))
  <= C3 * sum N step_size.
Proof.
  intros HC.
  rewrite (sum_ext N _ (fun n => sum n (fun j =>
    W n j * INR (n - j) * weight h B n / lag_root h B n j
    * sum (n - j) (fun l => step_size (j + l))))).
  2:{ intros n _. apply sum_ext. intros j _. unfold Rdiv. ring. }
  rewrite (sum_window N (fun n j => W n j * INR (n - j) * weight h B n / lag_root h B n j) step_size).
  rewrite <- sum_scal. apply sum_le. intros l Hl. fold (lag_3 h B W N l).
  rewrite Rmult_comm. apply Rmult_le_compat_r; [apply step_size_nonneg | apply HC; exact Hl].
Qed.

(** The log-sum lemma for one run. *)
Lemma total_relative :
  sum N relative <= INR d * (ln (1 + Rg ^ 2 / eps) + ln 2 * (tokens_before B N / h)).
Proof.
  unfold relative. rewrite sum_swap, <- sum_const. apply sum_le. intros i Hi.
  assert (H := log_sum eps (fun k => beta2 h (B k)) (fun k => (1 - beta2 h (B k)) * s k i ^ 2) 0 N
    He (Rle_refl 0)
    ltac:(intros k; assert (Hb := beta2_bounds h (B k) Hh (HB k)); lra)
    ltac:(intros k; assert (Hb := beta2_bounds h (B k) Hh (HB k));
          apply Rmult_le_pos; [lra | apply pow2_ge_0])).
  cbv beta in H. rewrite (tokens_residual h N B) in H. fold (tokens_before B N) in H.
  apply Rle_trans with (1 := H). apply Rplus_le_compat_r.
  assert (HR2 := pow2_ge_0 Rg).
  assert (Hv := v_seq_le h B s i (Rg ^ 2) N Hh HB HR2
    ltac:(intros l Hl; apply pow2_le_of_Rabs; apply Hs; assumption)).
  assert (Hv0 := v_seq_nonneg h B s N i Hh HB). unfold v_seq in Hv, Hv0.
  set (V := decayed _ _ 0 N) in *. apply ln_le.
  - apply Rdiv_lt_0_compat; lra.
  - rewrite Rplus_0_r. replace (1 + Rg ^ 2 / eps) with ((eps + Rg ^ 2) / eps) by (field; lra).
    apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact He | lra].
Qed.

(** Descent, drift and second order together, before expectations. *)
Lemma momentum_run_bound Fstar CA' C2 C3 :
  (forall y, Fstar <= F y) ->
  (forall j, (j < N)%nat -> lag_A' h B W N j <= CA' * c j) ->
  (forall j, (j < N)%nat -> lag_2 h B W N j <= C2 * c j) ->
  (forall l, (l < N)%nat -> lag_3 h B W N l <= C3) -> 0 <= C3 ->
  alpha * sum N (fun n => sum (S n) (fun j => weight h B n * W n j * inner n j))
  <= F x0 - Fstar
     + (alpha * (Rg * CA')
        + (L * alpha ^ 2 / 2 + alpha * (L ^ 2 * alpha ^ 2 / (4 * Rg) * C3)) * C2) * sum N relative.
Proof.
  intros HF H1 H2 H3 HC3.
  set (K := L ^ 2 * alpha ^ 2 / (4 * Rg)).
  assert (HK : 0 <= K).
  { unfold K. apply Rmult_le_pos; [apply Rmult_le_pos; apply pow2_ge_0 | left; apply Rinv_0_lt_compat; lra]. }
  set (driftsum := fun n j => Rg * lag_root h B n j * late n j
     + K * (INR (n - j) / lag_root h B n j) * sum (n - j) (fun l => step_size (j + l))).
  (* the true inner products against the leading ones *)
  assert (Hin : forall n, (n < N)%nat ->
    sum (S n) (fun j => W n j * inner n j) - sum n (fun j => W n j * driftsum n j)
    <= sum d (fun i => gradF (x n) i * m n i / sqrt (eps + v (S n) i))).
  { intros n Hn. rewrite expand_momentum. cbn [sum].
    change (sum d (fun i => gradF (x n) i * s n i / sqrt (eps + v (S n) i))) with (inner n n).
    assert (H : sum n (fun j => W n j * inner n j) - sum n (fun j => W n j * driftsum n j)
      <= sum n (fun j => W n j * sum d (fun i => gradF (x n) i * s j i / sqrt (eps + v (S n) i)))).
    { rewrite <- sum_minus. apply sum_le. intros j Hj. rewrite <- Rmult_minus_distr_l.
      apply Rmult_le_compat_l; [apply HW; lia | apply drift; exact Hj]. }
    lra. }
  assert (Hdesc := momentum_descent N). specialize (HF (x N)).
  rewrite sum_plus, sum_scal in Hdesc.
  assert (Hlower : sum N (fun n => alpha * sum (S n) (fun j => weight h B n * W n j * inner n j)
                     - alpha * sum n (fun j => weight h B n * W n j * driftsum n j))
    <= sum N (fun n => - (- (alpha * weight h B n)
          * sum d (fun i => gradF (x n) i * m n i / sqrt (eps + v (S n) i))))).
  { apply sum_le. intros n Hn. specialize (Hin n Hn). destruct (weight_sq n) as [Hw _].
    assert (Haw : 0 <= alpha * weight h B n) by (apply Rmult_le_pos; lra).
    apply (Rmult_le_compat_l _ _ _ Haw) in Hin.
    rewrite (sum_ext (S n) (fun j => weight h B n * W n j * inner n j)
               (fun j => weight h B n * (W n j * inner n j))) by (intros; ring).
    rewrite (sum_ext n (fun j => weight h B n * W n j * driftsum n j)
               (fun j => weight h B n * (W n j * driftsum n j))) by (intros; ring).
    rewrite !sum_scal. lra. }
  rewrite sum_minus, !sum_scal in Hlower.
  rewrite (sum_ext N (fun n => - (- (alpha * weight h B n) * _))
    (fun n => -1 * (- (alpha * weight h B n)
       * sum d (fun i => gradF (x n) i * m n i / sqrt (eps + v (S n) i))))) in Hlower
    by (intros; ring).
  rewrite sum_scal in Hlower.
  (* what the drift costs *)
  assert (Hdrift : sum N (fun n => sum n (fun j => weight h B n * W n j * driftsum n j))
    <= Rg * (CA' * sum N relative) + K * (C3 * sum N step_size)).
  { rewrite (sum_ext N _ (fun n =>
        Rg * sum n (fun j => weight h B n * W n j * (lag_root h B n j * late n j))
        + K * sum n (fun j => weight h B n * W n j
              * (INR (n - j) / lag_root h B n j * sum (n - j) (fun l => step_size (j + l)))))).
    2:{ intros n _. rewrite <- !sum_scal, <- sum_plus. apply sum_ext. intros j _.
        unfold driftsum. ring. }
    rewrite sum_plus, !sum_scal. apply Rplus_le_compat.
    - apply Rmult_le_compat_l; [lra | apply total_lag_A'; exact H1].
    - apply Rmult_le_compat_l; [exact HK | apply total_drift; exact H3]. }
  assert (HZ := total_step_size C2 H2).
  assert (HLa : 0 <= L * alpha ^ 2 / 2)
    by (assert (0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]); lra).
  assert (HKC : 0 <= L * alpha ^ 2 / 2 + alpha * (K * C3)).
  { assert (0 <= alpha * (K * C3)) by (apply Rmult_le_pos; [lra | apply Rmult_le_pos; assumption]). lra. }
  apply (Rmult_le_compat_l _ _ _ HKC) in HZ.
  apply (Rmult_le_compat_l alpha) in Hdrift; [|lra].
  lra.
Qed.

End Run.

(** ** The theorem *)

Lemma E_sum t n (X : nat -> path -> R) : probability t ->
  E t (fun w => sum n (fun k => X k w)) = sum n (fun k => E t (X k)).
Proof.
  intros Hp. induction n as [|n IH]; cbn [sum]; [apply E_const; exact Hp|].
  rewrite E_plus, IH. reflexivity.
Qed.

(** [sum_j w_j |grad F (x j)|^2] along one run. *)
Definition weighted_gradients_momentum (d : nat) (alpha h eps : R) (B : nat -> R)
    (W : nat -> nat -> R) (gradF : vec -> vec) (x0 : vec) (N : nat) (s : nat -> vec) : R :=
  sum N (fun j => momentum_weight h B W N j * norm_sq d (gradF (x_seq alpha h eps B W x0 s j))).

Theorem adam_token_half_life_momentum :
  forall (d : nat) (h alpha eps Rg L : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (N : nat) (B : nat -> R) (W : nat -> nat -> R) (CA CA' C2 C3 : R) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 < Rg -> 0 <= L ->
  gradient d F gradF -> lipschitz_gradient d L gradF -> (forall x, Fstar <= F x) ->
  (forall k, 0 < B k) ->
  (forall n j, (j <= n)%nat -> 0 <= W n j) -> (forall n, sum (S n) (fun j => W n j) <= 1) ->
  0 <= CA -> 0 <= CA' -> 0 <= C2 -> 0 <= C3 ->
  (forall j, (j < N)%nat -> lag_A h B W N j <= CA * (1 - beta2 h (B j))) ->
  (forall j, (j < N)%nat -> lag_A' h B W N j <= CA' * (1 - beta2 h (B j))) ->
  (forall j, (j < N)%nat -> lag_2 h B W N j <= C2 * (1 - beta2 h (B j))) ->
  (forall l, (l < N)%nat -> lag_3 h B W N l <= C3) ->
  momentum_run d alpha h eps Rg B W gradF x0 N 0 (fun _ => zero_vec) t ->
  E t (fun w => weighted_gradients_momentum d alpha h eps B W gradF x0 N
                  (gradients 0 (fun _ => zero_vec) w))
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (Rg / 2 * CA + Rg * CA' + L * alpha / 2 * C2
                   + L ^ 2 * alpha ^ 2 / (4 * Rg) * C3 * C2)
          * (ln (1 + Rg ^ 2 / eps) + ln 2 * (sum N B / h))).
Proof.
  intros d h alpha eps Rg L F gradF Fstar x0 N B W CA CA' C2 C3 t
    Hh Ha He HR HL HF Hlip HFs HB HW HW1 HCA HCA' HC2 HC3 H1 H1' H2 H3 Hrun.
  assert (Hsm := smooth_of_lipschitz_gradient d L F gradF HL HF Hlip).
  assert (Hp := momentum_run_probability _ _ _ _ _ _ _ _ _ _ _ _ _ Hrun).
  assert (Hb0 : bounded_seq d Rg 0 (fun _ => zero_vec)) by (intros l Hl; lia).
  assert (Hb : forall w, path_of t w -> bounded_seq d Rg N (gradients 0 (fun _ => zero_vec) w))
    by (intros w Hw; exact (momentum_run_bounded _ _ _ _ _ _ _ _ _ _ _ _ _ _ Hrun Hb0 Hw)).
  set (seq := gradients 0 (fun _ => zero_vec)) in *.
  assert (HR2 := pow2_ge_0 Rg).
  destruct (sqrt_sq_pos (eps + Rg ^ 2) ltac:(lra)) as [Hroot _].
  set (root := sqrt (eps + Rg ^ 2)) in *.
  set (Lam := ln (1 + Rg ^ 2 / eps) + ln 2 * (tokens_before B N / h)).
  set (rel := fun w => sum N (relative d h eps B (seq w))).
  set (WG := fun w => weighted_gradients_momentum d alpha h eps B W gradF x0 N (seq w)).
  (* the lagged one-step lemma, summed over coordinates and pairs of steps *)
  assert (Hlag : E t (fun w => sum N (fun n => sum (S n) (fun j => sum d (fun i =>
        weight h B n * W n j
        * (gradF (x_seq alpha h eps B W x0 (seq w) j) i ^ 2 / (2 * root)
           - Rg * lag_root h B n j / 2 * (seq w j i ^ 2 / (eps + v_seq h B (seq w) (S n) i)))))))
    <= E t (fun w => sum N (fun n => sum (S n) (fun j =>
        weight h B n * W n j * inner d alpha h eps B W x0 gradF (seq w) n j)))).
  { rewrite !E_sum by exact Hp. apply sum_le. intros n Hn.
    rewrite !E_sum by exact Hp. apply sum_le. intros j Hj.
    rewrite E_sum by exact Hp.
    rewrite E_scal. unfold inner. rewrite E_sum by exact Hp.
    rewrite <- sum_scal. apply sum_le. intros i Hi. rewrite E_scal.
    apply Rmult_le_compat_l; [apply Rmult_le_pos; [apply sqrt_pos | apply HW; lia]|].
    apply (E_from_step d alpha h eps Rg B W gradF x0 N j
      (fun s => gradF (x_seq alpha h eps B W x0 s j) i ^ 2 / (2 * root)
                - Rg * lag_root h B n j / 2 * (s j i ^ 2 / (eps + v_seq h B s (S n) i)))
      (fun s => gradF (x_seq alpha h eps B W x0 s j) i * s j i / sqrt (eps + v_seq h B s (S n) i))
      t 0 (fun _ => zero_vec) ltac:(lia) ltac:(lia) Hrun Hb0).
    intros b m p g next s' t' Hrun' Hs'.
    exact (lagged_one_step d alpha h eps Rg B W gradF x0 N j n i b m p g next s'
             Hh He (Rlt_le _ _ HR) HB ltac:(lia) Hi Hrun' Hs'). }
  (* the left side holds the weighted gradients, less an error *)
  assert (Hleft : E t (fun w => / (2 * root) * WG w - Rg / 2 * CA * rel w)
    <= E t (fun w => sum N (fun n => sum (S n) (fun j => sum d (fun i =>
        weight h B n * W n j
        * (gradF (x_seq alpha h eps B W x0 (seq w) j) i ^ 2 / (2 * root)
           - Rg * lag_root h B n j / 2 * (seq w j i ^ 2 / (eps + v_seq h B (seq w) (S n) i)))))))).
  { apply E_le; [exact Hp|]. intros w Hw. specialize (Hb w Hw).
    rewrite (sum_ext N _ (fun n =>
      / (2 * root) * sum (S n) (fun j =>
          weight h B n * W n j * norm_sq d (gradF (x_seq alpha h eps B W x0 (seq w) j)))
      - Rg / 2 * sum (S n) (fun j =>
          weight h B n * W n j * lag_root h B n j * late d h eps B (seq w) n j))).
    2:{ intros n _. rewrite <- !sum_scal, <- sum_minus. apply sum_ext. intros j _.
        unfold norm_sq, late. rewrite <- !sum_scal, <- sum_minus. apply sum_ext. intros i _.
        field. assert (Hv := v_seq_nonneg h B (seq w) (S n) i Hh HB). lra. }
    rewrite sum_minus, !sum_scal.
    assert (HA := total_lag_A d h eps Rg B W (seq w) N Hh He HR HB HW Hb CA H1).
    apply (Rmult_le_compat_l (Rg / 2)) in HA; [|lra]. fold (rel w) in HA.
    rewrite (sum_triangle N (fun n j =>
      weight h B n * W n j * norm_sq d (gradF (x_seq alpha h eps B W x0 (seq w) j)))).
    replace (sum N (fun j => sum (N - j) (fun k => weight h B (j + k) * W (j + k)%nat j
               * norm_sq d (gradF (x_seq alpha h eps B W x0 (seq w) j))))) with (WG w).
    2:{ unfold WG, weighted_gradients_momentum, momentum_weight. apply sum_ext. intros j _.
        rewrite Rmult_comm, <- sum_scal. apply sum_ext. intros k _. ring. }
    lra. }
  (* one run at a time *)
  assert (Hright : E t (fun w => alpha * sum N (fun n => sum (S n) (fun j =>
        weight h B n * W n j * inner d alpha h eps B W x0 gradF (seq w) n j)))
    <= E t (fun w => (F x0 - Fstar)
        + (alpha * (Rg * CA') + (L * alpha ^ 2 / 2
             + alpha * (L ^ 2 * alpha ^ 2 / (4 * Rg) * C3)) * C2) * rel w)).
  { apply E_le; [exact Hp|]. intros w Hw. specialize (Hb w Hw).
    exact (momentum_run_bound d alpha h eps Rg L B W x0 F gradF (seq w) N Hh Ha He HR HL HB HW HW1
             Hsm Hlip Hb Fstar CA' C2 C3 HFs H1' H2 H3 HC3). }
  assert (Hrel : E t rel <= INR d * Lam).
  { rewrite <- (E_const t (INR d * Lam) Hp). apply E_le; [exact Hp|]. intros w Hw.
    exact (total_relative d h eps Rg B (seq w) N Hh He HB (Hb w Hw)). }
  rewrite E_scal in Hright. rewrite E_plus, E_const, E_scal in Hright by exact Hp.
  rewrite (E_ext t (fun w => / (2 * root) * WG w - Rg / 2 * CA * rel w)
             (fun w => / (2 * root) * WG w + - (Rg / 2 * CA) * rel w)) in Hleft by (intros; ring).
  rewrite E_plus, !E_scal in Hleft.
  change (fun w => WG w) with WG in *. change (fun w => rel w) with rel in *.
  set (C := alpha * (Rg / 2 * CA) + alpha * (Rg * CA')
            + (L * alpha ^ 2 / 2 + alpha * (L ^ 2 * alpha ^ 2 / (4 * Rg) * C3)) * C2).
  assert (HC : 0 <= C).
  { assert (P1 : 0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
    assert (P2 : 0 <= L ^ 2 * alpha ^ 2 / (4 * Rg)).
    { apply Rmult_le_pos; [apply Rmult_le_pos; apply pow2_ge_0 | left; apply Rinv_0_lt_compat; lra]. }
    set (K := L ^ 2 * alpha ^ 2 / (4 * Rg)) in *.
    assert (P3 : 0 <= K * C3) by (apply Rmult_le_pos; assumption).
    assert (P4 : 0 <= alpha * (K * C3)) by (apply Rmult_le_pos; [lra | exact P3]).
    assert (P5 : 0 <= alpha * (Rg / 2 * CA))
      by (apply Rmult_le_pos; [lra | apply Rmult_le_pos; [lra | assumption]]).
    assert (P6 : 0 <= alpha * (Rg * CA'))
      by (apply Rmult_le_pos; [lra | apply Rmult_le_pos; [lra | assumption]]).
    assert (P7 : 0 <= (L * alpha ^ 2 / 2 + alpha * (K * C3)) * C2)
      by (apply Rmult_le_pos; [lra | assumption]).
    unfold C. fold K. lra. }
  apply (Rmult_le_compat_l C) in Hrel; [|exact HC].
  assert (H : alpha * (/ (2 * root) * E t WG) <= F x0 - Fstar + C * (INR d * Lam)).
  { apply (Rmult_le_compat_l alpha) in Hlag; [|lra].
    apply (Rmult_le_compat_l alpha) in Hleft; [|lra].
    unfold C in *. lra. }
  apply (Rmult_le_compat_l (2 * root / alpha)) in H.
  2:{ left. apply Rdiv_lt_0_compat; lra. }
  replace (2 * root / alpha * (alpha * (/ (2 * root) * E t WG))) with (E t WG) in H by (field; lra).
  change (E t (fun w => weighted_gradients_momentum d alpha h eps B W gradF x0 N (seq w)))
    with (E t WG).
  apply Rle_trans with (1 := H). right. unfold C, Lam. fold (tokens_before B N). field. lra.
Qed.
