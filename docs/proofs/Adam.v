(** Adam without momentum under batch schedules: the theorem [adam_token_half_life].

    Algorithm, coordinate by coordinate, with [B] the batch size of the step:
      beta = 2^(-B/h),  v' = beta v + (1 - beta) g^2,
      x' = x - alpha sqrt (1 - beta) g / sqrt (v' + eps). *)

From Coq Require Import Reals Lra Lia Psatz List.
From BSTheory Require Import FiniteSums Analysis OneStep Tree.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** ** The algorithm *)

Definition beta2 (h B : R) : R := Rpower 2 (- (B / h)).

Definition v_next (h B : R) (v g : vec) : vec :=
  fun i => beta2 h B * v i + (1 - beta2 h B) * g i ^ 2.

Definition x_next (alpha h eps B : R) (x v g : vec) : vec :=
  fun i => x i - alpha * sqrt (1 - beta2 h B) * (g i / sqrt (v_next h B v g i + eps)).

Definition norm_sq (d : nat) (x : vec) : R := sum d (fun i => x i ^ 2).

(** [sum_k w_k |grad F (x_{k-1})|^2] along one run, [w_k = sqrt (1 - beta_k)]. *)
Fixpoint weighted_gradients (d : nat) (alpha h eps : R) (gradF : vec -> vec)
    (x v : vec) (w : path) : R :=
  match w with
  | [] => 0
  | (B, g) :: w' =>
      sqrt (1 - beta2 h B) * norm_sq d (gradF x)
      + weighted_gradients d alpha h eps gradF (x_next alpha h eps B x v g) (v_next h B v g) w'
  end.

(** ** The hypotheses *)

(** The smoothness inequality. *)
Definition smooth (d : nat) (L : R) (F : vec -> R) (gradF : vec -> vec) : Prop :=
  forall x y, F y <= F x + sum d (fun i => gradF x i * (y i - x i))
                     + L / 2 * sum d (fun i => (y i - x i) ^ 2).

(** The tree [t] is a run of the algorithm from the state [(x, v)]: batches are positive,
    at each node the gradient is unbiased at the current iterate, and no coordinate
    exceeds [R] (written [Rg]) in absolute value. *)
Fixpoint adam_run (d : nat) (alpha h eps Rg : R) (gradF : vec -> vec)
    (x v : vec) (t : tree) : Prop :=
  match t with
  | Stop => True
  | Step B m p g next =>
      0 < B /\ distribution m p
      /\ (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i)
      /\ (forall j, (j < m)%nat ->
            (forall i, (i < d)%nat -> Rabs (g j i) <= Rg)
            /\ adam_run d alpha h eps Rg gradF
                 (x_next alpha h eps B x v (g j)) (v_next h B v (g j)) (next j))
  end.

(** At each node the second moment of each coordinate is at most [rho B ^ 2]. *)
Fixpoint second_moments (d : nat) (rho : R -> R) (t : tree) : Prop :=
  match t with
  | Stop => True
  | Step B m p g next =>
      0 <= rho B
      /\ (forall i, (i < d)%nat -> mean m p (fun j => g j i ^ 2) <= rho B ^ 2)
      /\ (forall j, (j < m)%nat -> second_moments d rho (next j))
  end.

Lemma adam_run_probability d alpha h eps Rg gradF t : forall x v,
  adam_run d alpha h eps Rg gradF x v t -> probability t.
Proof.
  induction t as [|B m p g next IH]; simpl; intros x v H; [exact I|].
  destruct H as (_ & Hd & _ & Hn). split; [exact Hd|].
  intros j Hj. destruct (Hn j Hj) as [_ Hr]. exact (IH j _ _ Hr).
Qed.

Lemma pow2_le_of_Rabs a b : Rabs a <= b -> a ^ 2 <= b ^ 2.
Proof. intros H. rewrite <- (pow2_abs a). apply pow_incr. split; [apply Rabs_pos | exact H]. Qed.

Lemma adam_run_second_moments d alpha h eps Rg gradF t : 0 <= Rg -> forall x v,
  adam_run d alpha h eps Rg gradF x v t -> second_moments d (fun _ => Rg) t.
Proof.
  intros HR. induction t as [|B m p g next IH]; simpl; intros x v H; [exact I|].
  destruct H as (_ & Hd & _ & Hn). repeat split.
  - exact HR.
  - intros i Hi. rewrite <- (mean_const m p (Rg ^ 2)) by exact Hd. apply mean_le; [exact Hd|].
    intros j Hj. apply pow2_le_of_Rabs. apply (Hn j Hj). exact Hi.
  - intros j Hj. destruct (Hn j Hj) as [_ Hr]. exact (IH j _ _ Hr).
Qed.

(** Batches are positive and gradients bounded along every run. *)
Definition bounded_path (d : nat) (Rg : R) (w : path) : Prop :=
  Forall (fun s => 0 < fst s /\ forall i, (i < d)%nat -> Rabs (snd s i) <= Rg) w.

Lemma adam_run_bounded_path d alpha h eps Rg gradF t : forall x v w,
  adam_run d alpha h eps Rg gradF x v t -> path_of t w -> bounded_path d Rg w.
Proof.
  induction t as [|B m p g next IH]; simpl; intros x v w H Hw.
  - subst w. constructor.
  - destruct H as (HB & _ & _ & Hn). destruct Hw as (j & w' & Hj & Hw' & ->).
    destruct (Hn j Hj) as [Hg Hr]. constructor; [simpl; auto|]. exact (IH j _ _ _ Hr Hw').
Qed.

(** ** The decay factor *)

Lemma beta2_bounds h B : 0 < h -> 0 < B -> 0 < beta2 h B < 1.
Proof.
  intros Hh HB. unfold beta2. split; [apply exp_pos|].
  rewrite <- (Rpower_O 2) by lra. apply Rpower_lt; [lra|].
  assert (0 < B / h) by (apply Rdiv_lt_0_compat; lra). lra.
Qed.

Lemma ln_beta2 h B : ln (beta2 h B) = - (ln 2 * (B / h)).
Proof. unfold beta2, Rpower. rewrite ln_exp. ring. Qed.

(** Step [tokens_residual] (theory, step 9): the decay factors of a run cost
    [ln 2 D / h], whatever the schedule. *)
Lemma tokens_residual h n (B : nat -> R) :
  sum n (fun k => - ln (beta2 h (B k))) = ln 2 * (sum n B / h).
Proof.
  rewrite (sum_ext n _ (fun k => ln 2 / h * B k)).
  - rewrite sum_scal. unfold Rdiv. ring.
  - intros k _. rewrite ln_beta2. unfold Rdiv. ring.
Qed.

(** Step [v_hat_range] (theory, step 6): the accumulator stays below any bound [M] on its
    start and on the squared gradients. *)
Lemma v_hat_range h B v g M :
  0 < h -> 0 < B -> 0 <= v <= M -> 0 <= g <= M ->
  0 <= beta2 h B * v + (1 - beta2 h B) * g <= M.
Proof.
  intros Hh HB Hv Hg. destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
  set (b := beta2 h B) in *. split; nra.
Qed.

(** ** One node of the tree *)

(** The descent inequality for a step of the form
    [y - x = - alpha sqrt (1 - beta) sigma g / sqrt (e + v')], [v' = beta v + (1 - beta) g^2].
    The algorithm has [sigma = 1] and [e = eps]; bias correction has other values. *)
Lemma descent_scaled d alpha beta e sigma Rg L rho F gradF M root x v m p g (y : nat -> vec) :
  0 < alpha -> 0 < beta < 1 -> 0 < e -> 0 < sigma <= 1 -> 0 <= L -> 0 < root ->
  e + M <= (sigma * root) ^ 2 ->
  smooth d L F gradF ->
  (forall i, (i < d)%nat -> 0 <= v i /\ beta * v i + (1 - beta) * Rg ^ 2 <= M) ->
  distribution m p ->
  (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i) ->
  (forall j, (j < m)%nat -> forall i, (i < d)%nat -> Rabs (g j i) <= Rg) ->
  0 <= rho -> (forall i, (i < d)%nat -> mean m p (fun j => g j i ^ 2) <= rho ^ 2) ->
  (forall j, (j < m)%nat -> forall i, (i < d)%nat ->
     y j i - x i = - (alpha * sqrt (1 - beta) * sigma)
                   * (g j i / sqrt (e + (beta * v i + (1 - beta) * g j i ^ 2)))) ->
  alpha / (2 * root) * (sqrt (1 - beta) * norm_sq d (gradF x)) + mean m p (fun j => F (y j))
  <= F x + (2 * alpha * rho + L * alpha ^ 2 / 2)
           * mean m p (fun j => sum d (fun i =>
               (1 - beta) * g j i ^ 2 / (e + (beta * v i + (1 - beta) * g j i ^ 2)))).
Proof.
  intros Ha [Hb0 Hb1] He [Hsig0 Hsig1] HL HS HMS Hsm Hv Hd Hub Hg Hrho Hmom Hy.
  unfold norm_sq.
  set (s := sqrt (1 - beta)) in *.
  assert (Hs : 0 < s) by (apply sqrt_lt_R0; lra).
  assert (Hss : s * s = 1 - beta) by (apply sqrt_sqrt; lra).
  set (rel := fun i j => (1 - beta) * g j i ^ 2 / (e + (beta * v i + (1 - beta) * g j i ^ 2))).
  set (dir := fun i j => gradF x i * g j i / sqrt (e + (beta * v i + (1 - beta) * g j i ^ 2))).
  assert (Hpos : forall i j, (i < d)%nat -> 0 < e + (beta * v i + (1 - beta) * g j i ^ 2)).
  { intros i j Hi. destruct (Hv i Hi) as [Hv0 _]. assert (Hq := pow2_ge_0 (g j i)).
    assert (0 <= beta * v i) by (apply Rmult_le_pos; lra).
    assert (0 <= (1 - beta) * g j i ^ 2) by (apply Rmult_le_pos; lra). lra. }
  assert (Hrel : forall i j, (i < d)%nat -> 0 <= rel i j).
  { intros i j Hi. specialize (Hpos i j Hi). apply Rmult_le_pos.
    - apply Rmult_le_pos; [lra | apply pow2_ge_0].
    - left. apply Rinv_0_lt_compat. exact Hpos. }
  assert (HLa : 0 <= L * alpha ^ 2 / 2).
  { assert (0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]). lra. }
  (* the smoothness inequality, averaged *)
  apply Rle_trans with
    (alpha / (2 * root) * (s * sum d (fun i => gradF x i ^ 2))
     + mean m p (fun j => F x + sum d (fun i => - (alpha * s * sigma) * dir i j)
                          + L * alpha ^ 2 / 2 * sum d (fun i => rel i j))).
  { apply Rplus_le_compat_l. apply mean_le; [exact Hd|]. intros j Hj.
    eapply Rle_trans; [apply Hsm|]. apply Rplus_le_compat; [apply Rplus_le_compat_l; right|].
    - apply sum_ext. intros i Hi. rewrite (Hy j Hj i Hi). unfold dir, Rdiv. ring.
    - replace (L * alpha ^ 2 / 2) with (L / 2 * alpha ^ 2) by field.
      rewrite Rmult_assoc. apply Rmult_le_compat_l; [lra|]. rewrite <- sum_scal.
      apply sum_le. intros i Hi. rewrite (Hy j Hj i Hi).
      apply Rle_trans with (sigma ^ 2 * (alpha ^ 2 * rel i j)).
      + right. unfold rel. specialize (Hpos i j Hi). destruct (sqrt_sq_pos _ Hpos) as [HP HPP].
        set (P := sqrt (e + (beta * v i + (1 - beta) * g j i ^ 2))) in *.
        rewrite <- HPP, <- Hss. field. lra.
      + rewrite <- (Rmult_1_l (alpha ^ 2 * rel i j)) at 2. apply Rmult_le_compat_r.
        * apply Rmult_le_pos; [apply pow2_ge_0 | apply Hrel; exact Hi].
        * rewrite <- (pow1 2). apply pow_incr. lra. }
  rewrite !mean_plus, (mean_const m p (F x)), mean_scal, !mean_sum by exact Hd.
  (* one coordinate at a time *)
  assert (Hcoord : sum d (fun i =>
      alpha / (2 * root) * s * gradF x i ^ 2 + mean m p (fun j => - (alpha * s * sigma) * dir i j))
    <= sum d (fun i => 2 * alpha * rho * mean m p (rel i))).
  { apply sum_le. intros i Hi. destruct (Hv i Hi) as [Hv0 HvM].
    assert (Hq : mean m p (fun j => g j i ^ 2) <= Rg ^ 2).
    { rewrite <- (mean_const m p (Rg ^ 2)) by exact Hd. apply mean_le; [exact Hd|].
      intros j Hj. apply pow2_le_of_Rabs. apply Hg; assumption. }
    assert (HuM : beta * v i + (1 - beta) * mean m p (fun j => g j i ^ 2) <= M).
    { apply Rle_trans with (2 := HvM). apply Rplus_le_compat_l.
      apply Rmult_le_compat_l; [lra | exact Hq]. }
    assert (Hroot : 0 < sigma * root) by (apply Rmult_lt_0_compat; lra).
    assert (H := one_step m p (fun j => g j i) (gradF x i) e (1 - beta) (beta * v i) rho M
      (sigma * root) Hd He ltac:(lra) ltac:(apply Rmult_le_pos; lra) Hrho (Hub i Hi) (Hmom i Hi)
      HuM HMS Hroot).
    fold s in H. cbv beta in H. fold (dir i) in H.
    rewrite (mean_ext m p (rel i)
               (fun j => (1 - beta) * (g j i ^ 2 / (e + (beta * v i + (1 - beta) * g j i ^ 2)))))
      by (intros; unfold rel, Rdiv; ring).
    rewrite !mean_scal.
    set (X := mean m p (fun j => g j i ^ 2 / _)) in *.
    assert (HX : 0 <= X).
    { apply mean_nonneg; [exact Hd|]. intros j _. apply Rmult_le_pos; [apply pow2_ge_0|].
      left. apply Rinv_0_lt_compat. apply Hpos. exact Hi. }
    set (Y := mean m p (dir i)) in *.
    assert (Has : 0 <= alpha * s * sigma) by (repeat apply Rmult_le_pos; lra).
    apply (Rmult_le_compat_l (alpha * s * sigma)) in H; [|exact Has].
    replace (alpha * s * sigma * (gradF x i ^ 2 / (2 * (sigma * root)) - 2 * s * rho * X))
      with (alpha / (2 * root) * s * gradF x i ^ 2 - sigma * (2 * alpha * rho * ((s * s) * X))) in H
      by (field; lra).
    rewrite Hss in H.
    assert (HZ : 0 <= 2 * alpha * rho * ((1 - beta) * X)) by (repeat apply Rmult_le_pos; lra).
    assert (sigma * (2 * alpha * rho * ((1 - beta) * X)) <= 1 * (2 * alpha * rho * ((1 - beta) * X)))
      by (apply Rmult_le_compat_r; lra).
    lra. }
  rewrite sum_plus, !sum_scal in Hcoord. rewrite Rmult_plus_distr_r.
  rewrite <- (Rmult_assoc (alpha / (2 * root))).
  unfold rel in Hcoord |- *. lra.
Qed.

(** [(1 - beta) g_i^2 / (eps + v'_i)], summed over coordinates: the relative size of the
    new contribution to the accumulator. *)
Definition relative_step (d : nat) (h eps B : R) (v g : vec) : R :=
  sum d (fun i => (1 - beta2 h B) * g i ^ 2 / (eps + v_next h B v g i)).

(** Step [descent] (theory, step 7). *)
Lemma descent d alpha h eps Rg L rho F gradF M root x v B m p g :
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= L -> 0 < root ->
  Rg ^ 2 <= M -> eps + M <= root ^ 2 ->
  smooth d L F gradF ->
  (forall i, (i < d)%nat -> 0 <= v i <= M) ->
  0 < B -> distribution m p ->
  (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i) ->
  (forall j, (j < m)%nat -> forall i, (i < d)%nat -> Rabs (g j i) <= Rg) ->
  0 <= rho -> (forall i, (i < d)%nat -> mean m p (fun j => g j i ^ 2) <= rho ^ 2) ->
  alpha / (2 * root) * (sqrt (1 - beta2 h B) * norm_sq d (gradF x))
  + mean m p (fun j => F (x_next alpha h eps B x v (g j)))
  <= F x + (2 * alpha * rho + L * alpha ^ 2 / 2)
           * mean m p (fun j => relative_step d h eps B v (g j)).
Proof.
  intros Hh Ha He HL HS HRM HMS Hsm Hv HB Hd Hub Hg Hrho Hmom.
  apply (descent_scaled d alpha (beta2 h B) eps 1 Rg L rho F gradF M root); try assumption.
  - apply beta2_bounds; assumption.
  - lra.
  - rewrite Rmult_1_l. exact HMS.
  - intros i Hi. split; [apply Hv; exact Hi|]. apply v_hat_range; auto.
    split; [apply pow2_ge_0 | exact HRM].
  - intros j Hj i Hi. unfold x_next, v_next. rewrite (Rplus_comm (_ + _) eps). unfold Rdiv. ring.
Qed.

(** ** The whole tree *)

(** [sum_k coef(B_k) * relative step] along one run. *)
Fixpoint relative_sum (d : nat) (h eps : R) (coef : R -> R) (v : vec) (w : path) : R :=
  match w with
  | [] => 0
  | (B, g) :: w' =>
      coef B * relative_step d h eps B v g
      + relative_sum d h eps coef (v_next h B v g) w'
  end.

(** Step [telescope] (theory, step 10): the descent inequalities add up to the stopping
    time. *)
Lemma telescope d alpha h eps Rg L rho F gradF Fstar M root :
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= L -> 0 < root ->
  Rg ^ 2 <= M -> eps + M <= root ^ 2 ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  forall t x v,
  (forall i, (i < d)%nat -> 0 <= v i <= M) ->
  adam_run d alpha h eps Rg gradF x v t -> second_moments d rho t ->
  alpha / (2 * root) * E t (weighted_gradients d alpha h eps gradF x v)
  <= F x - Fstar
     + E t (relative_sum d h eps (fun B => 2 * alpha * rho B + L * alpha ^ 2 / 2) v).
Proof.
  intros Hh Ha He HL HS HRM HMS Hsm HF.
  induction t as [|B m p g next IH]; intros x v Hv Hrun Hmom.
  - simpl. specialize (HF x). lra.
  - simpl in Hrun, Hmom. destruct Hrun as (HB & Hd & Hub & Hn). destruct Hmom as (Hr0 & Hr2 & Hmom).
    assert (Hdesc := descent d alpha h eps Rg L (rho B) F gradF M root x v B m p g
      Hh Ha He HL HS HRM HMS Hsm Hv HB Hd Hub (fun j Hj => proj1 (Hn j Hj)) Hr0 Hr2).
    simpl E.
    set (C := 2 * alpha * rho B + L * alpha ^ 2 / 2) in *.
    set (G := sqrt (1 - beta2 h B) * norm_sq d (gradF x)) in *.
    set (W := fun j => E (next j) (weighted_gradients d alpha h eps gradF
                (x_next alpha h eps B x v (g j)) (v_next h B v (g j)))).
    set (Q := fun j => E (next j) (relative_sum d h eps
                (fun B => 2 * alpha * rho B + L * alpha ^ 2 / 2) (v_next h B v (g j)))).
    rewrite (mean_ext m p _ (fun j => G + W j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [reflexivity|].
        destruct (Hn j Hj) as [_ Hrj]. exact (adam_run_probability _ _ _ _ _ _ _ _ _ Hrj). }
    rewrite (mean_ext m p (fun j => E (next j) _)
               (fun j => C * relative_step d h eps B v (g j) + Q j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [reflexivity|].
        destruct (Hn j Hj) as [_ Hrj]. exact (adam_run_probability _ _ _ _ _ _ _ _ _ Hrj). }
    rewrite !mean_plus, mean_const, mean_scal by exact Hd.
    assert (Hrest : alpha / (2 * root) * mean m p W
        <= mean m p (fun j => F (x_next alpha h eps B x v (g j))) - Fstar + mean m p Q).
    { rewrite <- mean_scal. rewrite <- (mean_const m p Fstar) at 1 by exact Hd.
      rewrite <- mean_minus, <- mean_plus. apply mean_le; [exact Hd|]. intros j Hj.
      destruct (Hn j Hj) as [Hg Hrj]. apply IH; [|exact Hrj | apply Hmom; exact Hj].
      intros i Hi. apply v_hat_range; [exact Hh | exact HB | apply Hv; exact Hi|].
      split; [apply pow2_ge_0|]. apply Rle_trans with (Rg ^ 2); [|exact HRM].
      apply pow2_le_of_Rabs. apply Hg. exact Hi. }
    rewrite Rmult_plus_distr_l. lra.
Qed.

(** The log-sum lemma along one run, all coordinates together. *)
Lemma log_sum_path d h eps Rg w : 0 < h -> 0 < eps -> forall v M,
  bounded_path d Rg w ->
  (forall i, (i < d)%nat -> 0 <= v i <= M i /\ Rg ^ 2 <= M i) ->
  relative_sum d h eps (fun _ => 1) v w
  <= sum d (fun i => ln ((eps + M i) / (eps + v i))) + INR d * (ln 2 * (tokens w / h)).
Proof.
  intros Hh He. induction w as [|[B g] w IH]; intros v M Hb HvM; simpl.
  - replace (INR d * (ln 2 * (0 / h))) with 0 by (unfold Rdiv; ring).
    rewrite Rplus_0_r. apply sum_nonneg. intros i Hi.
    destruct (HvM i Hi) as [[Hv0 HvMi] _].
    rewrite ln_div by lra. assert (H := ln_le (eps + v i) (eps + M i)). lra.
  - inversion Hb as [|? ? [HB Hg] Hb']; subst. simpl in HB, Hg.
    destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
    assert (Hnext : forall i, (i < d)%nat -> 0 <= v_next h B v g i <= M i /\ Rg ^ 2 <= M i).
    { intros i Hi. destruct (HvM i Hi) as [Hvi HRi]. split; [|exact HRi].
      apply v_hat_range; [exact Hh | exact HB | exact Hvi|].
      split; [apply pow2_ge_0|]. apply Rle_trans with (Rg ^ 2); [|exact HRi].
      apply pow2_le_of_Rabs. apply Hg. exact Hi. }
    specialize (IH (v_next h B v g) M Hb' Hnext).
    assert (Hstep : relative_step d h eps B v g
      <= sum d (fun i => ln ((eps + v_next h B v g i) / (eps + v i)) + ln 2 * (B / h))).
    { apply sum_le. intros i Hi. destruct (HvM i Hi) as [[Hv0 _] _].
      destruct (log_step eps (beta2 h B) (v i) ((1 - beta2 h B) * g i ^ 2) He
                  (conj Hb0 (Rlt_le _ _ Hb1)) Hv0
                  ltac:(apply Rmult_le_pos; [lra | apply pow2_ge_0])) as [H1 H2].
      rewrite ln_beta2 in H2. unfold v_next. lra. }
    rewrite sum_plus, sum_const in Hstep.
    assert (Htel : sum d (fun i => ln ((eps + M i) / (eps + v i)))
      = sum d (fun i => ln ((eps + v_next h B v g i) / (eps + v i)))
        + sum d (fun i => ln ((eps + M i) / (eps + v_next h B v g i)))).
    { rewrite <- sum_plus. apply sum_ext. intros i Hi.
      destruct (Hnext i Hi) as [[Hn0 HnM] _]. destruct (HvM i Hi) as [[Hv0 HvMi] _].
      rewrite !ln_div by lra. ring. }
    rewrite Htel.
    replace (INR d * (ln 2 * ((B + tokens w) / h)))
      with (INR d * (ln 2 * (B / h)) + INR d * (ln 2 * (tokens w / h))) by (unfold Rdiv; ring).
    lra.
Qed.

Lemma relative_sum_scal d h eps a w : forall v,
  relative_sum d h eps (fun _ => a) v w = a * relative_sum d h eps (fun _ => 1) v w.
Proof.
  induction w as [|[B g] w IH]; intros v; simpl; [ring|]. rewrite IH. ring.
Qed.

(** ** The theorem *)

(** [max (r, v_0, ..., v_(d-1))]. *)
Fixpoint max_with (r : R) (d : nat) (v : vec) : R :=
  match d with
  | O => r
  | S k => Rmax (max_with r k v) (v k)
  end.

Lemma max_with_ge r d v :
  r <= max_with r d v /\ forall i, (i < d)%nat -> v i <= max_with r d v.
Proof.
  induction d as [|d [IH1 IH2]]; simpl.
  - split; [lra | intros; lia].
  - assert (H1 := Rmax_l (max_with r d v) (v d)). assert (H2 := Rmax_r (max_with r d v) (v d)).
    split; [lra|]. intros i Hi. destruct (Nat.eq_dec i d) as [->|Hne]; [exact H2|].
    specialize (IH2 i ltac:(lia)). lra.
Qed.

(** Any start of the accumulator, and the expected number of tokens in place of [D]. *)
Theorem adam_token_half_life_expected :
  forall (d : nat) (h alpha eps Rg L : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 v0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  (forall i, (i < d)%nat -> 0 <= v0 i) ->
  adam_run d alpha h eps Rg gradF x0 v0 t ->
  E t (weighted_gradients d alpha h eps gradF x0 v0)
  <= 2 * sqrt (eps + max_with (Rg ^ 2) d v0)
     * ((F x0 - Fstar) / alpha
        + (2 * Rg + L * alpha / 2)
          * (sum d (fun i => ln ((eps + Rmax (v0 i) (Rg ^ 2)) / (eps + v0 i)))
             + INR d * (ln 2 * (E t tokens / h)))).
Proof.
  intros d h alpha eps Rg L F gradF Fstar x0 v0 t Hh Ha He HR HL Hsm HF Hv0 Hrun.
  destruct (max_with_ge (Rg ^ 2) d v0) as [HM1 HM2].
  set (M := max_with (Rg ^ 2) d v0) in *.
  assert (HR2 := pow2_ge_0 Rg).
  destruct (sqrt_sq_pos (eps + M) ltac:(lra)) as [HS HSS].
  set (root := sqrt (eps + M)) in *.
  assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
  assert (Htel := telescope d alpha h eps Rg L (fun _ => Rg) F gradF Fstar M root
    Hh Ha He HL HS HM1 ltac:(lra) Hsm HF t x0 v0
    ltac:(intros i Hi; split; [apply Hv0 | apply HM2]; exact Hi) Hrun
    (adam_run_second_moments _ _ _ _ _ _ _ HR _ _ Hrun)).
  cbv beta in Htel.
  set (C := 2 * alpha * Rg + L * alpha ^ 2 / 2) in *.
  set (Lam := sum d (fun i => ln ((eps + Rmax (v0 i) (Rg ^ 2)) / (eps + v0 i)))).
  assert (HC : 0 <= C) by (unfold C; assert (0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]); nra).
  assert (Hlog : E t (relative_sum d h eps (fun _ => C) v0)
                 <= C * (Lam + INR d * (ln 2 * (E t tokens / h)))).
  { rewrite (E_ext t _ (fun w => C * relative_sum d h eps (fun _ => 1) v0 w))
      by (intros; apply relative_sum_scal).
    rewrite E_scal. apply Rmult_le_compat_l; [exact HC|].
    replace (Lam + INR d * (ln 2 * (E t tokens / h)))
      with (E t (fun w => Lam + INR d * (ln 2 / h) * tokens w)).
    2:{ rewrite E_plus, E_const, E_scal by exact Hp. unfold Rdiv. ring. }
    apply E_le; [exact Hp|]. intros w Hw.
    apply Rle_trans with (1 := log_sum_path d h eps Rg w Hh He v0 (fun i => Rmax (v0 i) (Rg ^ 2))
      (adam_run_bounded_path _ _ _ _ _ _ _ _ _ _ Hrun Hw)
      ltac:(intros i Hi; assert (A := Rmax_l (v0 i) (Rg ^ 2)); assert (B := Rmax_r (v0 i) (Rg ^ 2));
            specialize (Hv0 i Hi); lra)).
    right. unfold Lam, Rdiv. ring. }
  assert (H : alpha / (2 * root) * E t (weighted_gradients d alpha h eps gradF x0 v0)
              <= F x0 - Fstar + C * (Lam + INR d * (ln 2 * (E t tokens / h)))) by lra.
  apply (Rmult_le_compat_l (2 * root / alpha)) in H.
  2:{ left. apply Rdiv_lt_0_compat; lra. }
  rewrite <- Rmult_assoc in H.
  replace (2 * root / alpha * (alpha / (2 * root))) with 1 in H by (field; lra).
  rewrite Rmult_1_l in H. apply Rle_trans with (1 := H). right. unfold C. field. lra.
Qed.

(** Any start of the accumulator, at most [D] tokens on every run. *)
Theorem adam_token_half_life_any_start :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 v0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  (forall i, (i < d)%nat -> 0 <= v0 i) ->
  adam_run d alpha h eps Rg gradF x0 v0 t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 v0)
  <= 2 * sqrt (eps + max_with (Rg ^ 2) d v0)
     * ((F x0 - Fstar) / alpha
        + (2 * Rg + L * alpha / 2)
          * (sum d (fun i => ln ((eps + Rmax (v0 i) (Rg ^ 2)) / (eps + v0 i)))
             + INR d * (ln 2 * (D / h)))).
Proof.
  intros d h alpha eps Rg L D F gradF Fstar x0 v0 t Hh Ha He HR HL Hsm HF Hv0 Hrun HD.
  eapply Rle_trans;
    [exact (adam_token_half_life_expected d h alpha eps Rg L F gradF Fstar x0 v0 t
              Hh Ha He HR HL Hsm HF Hv0 Hrun)|].
  assert (HE : E t tokens <= D).
  { assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
    rewrite <- (E_const t D Hp). apply E_le; assumption. }
  apply Rmult_le_compat_l; [assert (H := sqrt_pos (eps + max_with (Rg ^ 2) d v0)); lra|].
  apply Rplus_le_compat_l. apply Rmult_le_compat_l.
  { assert (0 <= L * alpha) by (apply Rmult_le_pos; lra). lra. }
  apply Rplus_le_compat_l. apply Rmult_le_compat_l; [apply pos_INR|].
  apply Rmult_le_compat_l; [assert (H := ln_lt_2); lra|].
  apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hh | exact HE].
Qed.

Definition zero_vec : vec := fun _ => 0.

(** The flagship: accumulator started at zero. *)
Theorem adam_token_half_life :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * Rg + L * alpha / 2) * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h))).
Proof.
  intros d h alpha eps Rg L D F gradF Fstar x0 t Hh Ha He HR HL Hsm HF Hrun HD.
  assert (HR2 := pow2_ge_0 Rg).
  assert (H := adam_token_half_life_any_start d h alpha eps Rg L D F gradF Fstar x0 zero_vec t
    Hh Ha He HR HL Hsm HF ltac:(intros; unfold zero_vec; lra) Hrun HD).
  replace (max_with (Rg ^ 2) d zero_vec) with (Rg ^ 2) in H.
  2:{ clear -HR2. induction d as [|d IH]; simpl; [reflexivity|]. simpl in IH. rewrite <- IH.
      unfold zero_vec. rewrite Rmax_left; [reflexivity|]. simpl in HR2. exact HR2. }
  rewrite (sum_ext d _ (fun _ => ln (1 + Rg ^ 2 / eps))) in H.
  2:{ intros i Hi. unfold zero_vec. rewrite Rmax_right by exact HR2. f_equal. field. lra. }
  rewrite sum_const in H. apply Rle_trans with (1 := H). right. ring.
Qed.
