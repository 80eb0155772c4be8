(** The flagship for the bias-corrected method: the step divides by
    [sqrt (v' / b + eps)] with [b = 1 - 2^(-T/h)], [T] the tokens used so far. *)

From Coq Require Import Reals Lra Lia Psatz List FunctionalExtensionality.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** ** The algorithm; [T] counts the tokens before the step *)

Definition correction (h T : R) : R := 1 - beta2 h T.

Definition x_next_corrected (alpha h eps T B : R) (x v g : vec) : vec :=
  fun i => x i - alpha * sqrt (1 - beta2 h B)
                 * (g i / sqrt (v_next h B v g i / correction h (T + B) + eps)).

Fixpoint weighted_gradients_corrected (d : nat) (alpha h eps : R) (gradF : vec -> vec)
    (T : R) (x v : vec) (w : path) : R :=
  match w with
  | [] => 0
  | (B, g) :: w' =>
      sqrt (1 - beta2 h B) * norm_sq d (gradF x)
      + weighted_gradients_corrected d alpha h eps gradF (T + B)
          (x_next_corrected alpha h eps T B x v g) (v_next h B v g) w'
  end.

Fixpoint adam_run_corrected (d : nat) (alpha h eps Rg : R) (gradF : vec -> vec)
    (T : R) (x v : vec) (t : tree) : Prop :=
  match t with
  | Stop => True
  | Step B m p g next =>
      0 < B /\ distribution m p
      /\ (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i)
      /\ (forall j, (j < m)%nat ->
            (forall i, (i < d)%nat -> Rabs (g j i) <= Rg)
            /\ adam_run_corrected d alpha h eps Rg gradF (T + B)
                 (x_next_corrected alpha h eps T B x v (g j)) (v_next h B v (g j)) (next j))
  end.

Lemma adam_run_corrected_probability d alpha h eps Rg gradF t : forall T x v,
  adam_run_corrected d alpha h eps Rg gradF T x v t -> probability t.
Proof.
  induction t as [|B m p g next IH]; simpl; intros T x v H; [exact I|].
  destruct H as (_ & Hd & _ & Hn). split; [exact Hd|].
  intros j Hj. destruct (Hn j Hj) as [_ Hr]. exact (IH j _ _ _ Hr).
Qed.

Lemma adam_run_corrected_bounded_path d alpha h eps Rg gradF t : forall T x v w,
  adam_run_corrected d alpha h eps Rg gradF T x v t -> path_of t w -> bounded_path d Rg w.
Proof.
  induction t as [|B m p g next IH]; simpl; intros T x v w H Hw.
  - subst w. constructor.
  - destruct H as (HB & _ & _ & Hn). destruct Hw as (j & w' & Hj & Hw' & ->).
    destruct (Hn j Hj) as [Hg Hr]. constructor; [simpl; auto|]. exact (IH j _ _ _ _ Hr Hw').
Qed.

(** ** The correction factor *)

Lemma beta2_plus h S T : beta2 h (S + T) = beta2 h S * beta2 h T.
Proof.
  unfold beta2. rewrite <- Rpower_plus. f_equal. unfold Rdiv. ring.
Qed.

Lemma correction_step h T B : correction h (T + B) = beta2 h B * correction h T + (1 - beta2 h B).
Proof. unfold correction. rewrite beta2_plus. ring. Qed.

Lemma correction_pos h T : 0 < h -> 0 < T -> 0 < correction h T < 1.
Proof. intros Hh HT. unfold correction. assert (H := beta2_bounds h T Hh HT). lra. Qed.

Lemma correction_0 h : correction h 0 = 0.
Proof.
  unfold correction, beta2. replace (- (0 / h)) with 0 by (unfold Rdiv; ring).
  rewrite Rpower_O by lra. ring.
Qed.

Lemma correction_mono h S T : 0 < h -> S <= T -> correction h S <= correction h T.
Proof.
  intros Hh [H | ->]; [|lra]. unfold correction, beta2.
  assert (H' : Rpower 2 (- (T / h)) < Rpower 2 (- (S / h))).
  { apply Rpower_lt; [lra|]. apply Ropp_lt_contravar.
    apply Rmult_lt_compat_r; [apply Rinv_0_lt_compat; exact Hh | exact H]. }
  lra.
Qed.

(** The accumulator stays below [b R^2]. *)
Lemma v_corrected_range h T B v g R2 :
  0 < h -> 0 <= T -> 0 < B -> 0 <= v <= correction h T * R2 -> 0 <= g <= R2 ->
  0 <= beta2 h B * v + (1 - beta2 h B) * g <= correction h (T + B) * R2.
Proof.
  intros Hh HT HB [Hv0 Hv1] [Hg0 Hg1]. destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
  rewrite correction_step. set (b := beta2 h B) in *.
  assert (0 <= b * v) by (apply Rmult_le_pos; lra).
  assert (0 <= (1 - b) * g) by (apply Rmult_le_pos; lra).
  assert (b * v <= b * (correction h T * R2)) by (apply Rmult_le_compat_l; lra).
  assert ((1 - b) * g <= (1 - b) * R2) by (apply Rmult_le_compat_l; lra).
  split; lra.
Qed.

(** ** One run and the whole tree *)

Definition relative_step_corrected (d : nat) (h eps T B : R) (v g : vec) : R :=
  sum d (fun i => (1 - beta2 h B) * g i ^ 2 / (eps * correction h (T + B) + v_next h B v g i)).

Fixpoint relative_sum_corrected (d : nat) (h eps T : R) (v : vec) (w : path) : R :=
  match w with
  | [] => 0
  | (B, g) :: w' =>
      relative_step_corrected d h eps T B v g
      + relative_sum_corrected d h eps (T + B) (v_next h B v g) w'
  end.

Lemma descent_corrected d alpha h eps Rg L F gradF T x v B m p g :
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L -> 0 <= T ->
  smooth d L F gradF ->
  (forall i, (i < d)%nat -> 0 <= v i <= correction h T * Rg ^ 2) ->
  0 < B -> distribution m p ->
  (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i) ->
  (forall j, (j < m)%nat -> forall i, (i < d)%nat -> Rabs (g j i) <= Rg) ->
  alpha / (2 * sqrt (eps + Rg ^ 2)) * (sqrt (1 - beta2 h B) * norm_sq d (gradF x))
  + mean m p (fun j => F (x_next_corrected alpha h eps T B x v (g j)))
  <= F x + (2 * alpha * Rg + L * alpha ^ 2 / 2)
           * mean m p (fun j => relative_step_corrected d h eps T B v (g j)).
Proof.
  intros Hh Ha He HR HL HT Hsm Hv HB Hd Hub Hg.
  assert (HR2 := pow2_ge_0 Rg).
  destruct (correction_pos h (T + B) Hh ltac:(lra)) as [Hc0 Hc1].
  set (c := correction h (T + B)) in *.
  destruct (sqrt_sq_pos c Hc0) as [Hs0 Hss].
  destruct (sqrt_sq_pos (eps + Rg ^ 2) ltac:(lra)) as [Hroot Hrr].
  assert (Hec : 0 < eps * c) by (apply Rmult_lt_0_compat; lra).
  apply (descent_scaled d alpha (beta2 h B) (eps * c) (sqrt c) Rg L Rg F gradF (c * Rg ^ 2));
    try assumption.
  - apply beta2_bounds; assumption.
  - split; [exact Hs0|]. rewrite <- sqrt_1. apply sqrt_le_1_alt. lra.
  - right. replace ((sqrt c * sqrt (eps + Rg ^ 2)) ^ 2)
      with (sqrt c * sqrt c * (sqrt (eps + Rg ^ 2) * sqrt (eps + Rg ^ 2))) by ring.
    rewrite Hss, Hrr. ring.
  - intros i Hi. split; [apply Hv; exact Hi|]. unfold c. apply v_corrected_range; auto. lra.
  - intros i Hi. rewrite <- (mean_const m p (Rg ^ 2)) by exact Hd. apply mean_le; [exact Hd|].
    intros j Hj. apply pow2_le_of_Rabs. apply Hg; assumption.
  - intros j Hj i Hi. unfold x_next_corrected. fold c.
    change (beta2 h B * v i + (1 - beta2 h B) * g j i ^ 2) with (v_next h B v (g j) i).
    assert (Hn : 0 <= v_next h B v (g j) i).
    { destruct (Hv i Hi) as [Hv0 _]. destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
      assert (Hsq := pow2_ge_0 (g j i)).
      apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra. }
    set (V := v_next h B v (g j) i) in *.
    replace (V / c + eps) with ((eps * c + V) / c) by (field; lra).
    rewrite sqrt_div_alt by exact Hc0.
    assert (HP : 0 < sqrt (eps * c + V)) by (apply sqrt_lt_R0; lra).
    field. lra.
Qed.

Lemma telescope_corrected d alpha h eps Rg L F gradF Fstar :
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  forall t T x v,
  0 <= T ->
  (forall i, (i < d)%nat -> 0 <= v i <= correction h T * Rg ^ 2) ->
  adam_run_corrected d alpha h eps Rg gradF T x v t ->
  alpha / (2 * sqrt (eps + Rg ^ 2)) * E t (weighted_gradients_corrected d alpha h eps gradF T x v)
  <= F x - Fstar
     + (2 * alpha * Rg + L * alpha ^ 2 / 2) * E t (relative_sum_corrected d h eps T v).
Proof.
  intros Hh Ha He HR HL Hsm HF.
  set (C := 2 * alpha * Rg + L * alpha ^ 2 / 2). set (a := alpha / (2 * sqrt (eps + Rg ^ 2))).
  induction t as [|B m p g next IH]; intros T x v HT Hv Hrun.
  - simpl. specialize (HF x). lra.
  - simpl in Hrun. destruct Hrun as (HB & Hd & Hub & Hn).
    assert (Hdesc := descent_corrected d alpha h eps Rg L F gradF T x v B m p g
      Hh Ha He HR HL HT Hsm Hv HB Hd Hub (fun j Hj => proj1 (Hn j Hj))).
    fold a C in Hdesc. simpl E.
    set (G := sqrt (1 - beta2 h B) * norm_sq d (gradF x)) in *.
    set (W := fun j => E (next j) (weighted_gradients_corrected d alpha h eps gradF (T + B)
                (x_next_corrected alpha h eps T B x v (g j)) (v_next h B v (g j)))).
    set (Q := fun j => E (next j) (relative_sum_corrected d h eps (T + B) (v_next h B v (g j)))).
    assert (Hprob : forall j, (j < m)%nat -> probability (next j)).
    { intros j Hj. destruct (Hn j Hj) as [_ Hrj].
      exact (adam_run_corrected_probability _ _ _ _ _ _ _ _ _ _ Hrj). }
    rewrite (mean_ext m p _ (fun j => G + W j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [reflexivity | apply Hprob; exact Hj]. }
    rewrite (mean_ext m p (fun j => E (next j) _)
               (fun j => relative_step_corrected d h eps T B v (g j) + Q j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [reflexivity | apply Hprob; exact Hj]. }
    rewrite !mean_plus, mean_const by exact Hd.
    assert (Hrest : a * mean m p W
        <= mean m p (fun j => F (x_next_corrected alpha h eps T B x v (g j))) - Fstar
           + C * mean m p Q).
    { rewrite <- !mean_scal. rewrite <- (mean_const m p Fstar) at 1 by exact Hd.
      rewrite <- mean_minus, <- mean_plus. apply mean_le; [exact Hd|]. intros j Hj.
      destruct (Hn j Hj) as [Hg Hrj]. apply IH; [lra | | exact Hrj].
      intros i Hi. apply v_corrected_range; auto.
      split; [apply pow2_ge_0 | apply pow2_le_of_Rabs; apply Hg; exact Hi]. }
    rewrite !Rmult_plus_distr_l. lra.
Qed.

(** The log-sum lemma with the growing [eps b_k], after the first step. *)
Lemma log_sum_path_corrected d h eps Rg D w : 0 < h -> 0 < eps -> forall T v,
  0 < T -> T + tokens w <= D -> bounded_path d Rg w ->
  (forall i, (i < d)%nat -> 0 <= v i <= correction h T * Rg ^ 2) ->
  relative_sum_corrected d h eps T v w
  <= sum d (fun i => ln (correction h D * (eps + Rg ^ 2)) - ln (eps * correction h T + v i))
     + INR d * (ln 2 * (tokens w / h)).
Proof.
  intros Hh He. assert (HR2 := pow2_ge_0 Rg).
  induction w as [|[B g] w IH]; intros T v HT HD Hb Hv.
  - simpl in *. replace (INR d * (ln 2 * (0 / h))) with 0 by (unfold Rdiv; ring).
    rewrite Rplus_0_r. apply sum_nonneg. intros i Hi. destruct (Hv i Hi) as [Hv0 Hv1].
    destruct (correction_pos h T Hh HT) as [Hc0 _].
    assert (Hmono := correction_mono h T D Hh ltac:(lra)).
    assert (Hec : 0 < eps * correction h T) by (apply Rmult_lt_0_compat; lra).
    assert (H : ln (eps * correction h T + v i) <= ln (correction h D * (eps + Rg ^ 2))).
    { apply ln_le; [lra|]. apply Rle_trans with (correction h T * (eps + Rg ^ 2)); [lra|].
      apply Rmult_le_compat_r; lra. }
    lra.
  - inversion Hb as [|? ? [HB Hg] Hb']; subst. simpl in HB, Hg.
    change (tokens ((B, g) :: w)) with (B + tokens w) in *.
    destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
    assert (Hnext : forall i, (i < d)%nat ->
              0 <= v_next h B v g i <= correction h (T + B) * Rg ^ 2).
    { intros i Hi. apply v_corrected_range; auto; [lra|].
      split; [apply pow2_ge_0 | apply pow2_le_of_Rabs; apply Hg; exact Hi]. }
    specialize (IH (T + B) (v_next h B v g) ltac:(lra) ltac:(lra) Hb' Hnext).
    destruct (correction_pos h T Hh HT) as [Hc0 _].
    destruct (correction_pos h (T + B) Hh ltac:(lra)) as [Hc0' _].
    assert (Hec : 0 < eps * correction h T) by (apply Rmult_lt_0_compat; lra).
    assert (Hec' : 0 < eps * correction h (T + B)) by (apply Rmult_lt_0_compat; lra).
    assert (Hstep : relative_step_corrected d h eps T B v g
      <= sum d (fun i => ln (eps * correction h (T + B) + v_next h B v g i)
                         - ln (eps * correction h T + v i) + ln 2 * (B / h))).
    { apply sum_le. intros i Hi. destruct (Hv i Hi) as [Hv0 _]. destruct (Hnext i Hi) as [Hn0 _].
      destruct (log_step (eps * correction h (T + B)) (beta2 h B) (v i)
                  ((1 - beta2 h B) * g i ^ 2) Hec' (conj Hb0 (Rlt_le _ _ Hb1)) Hv0
                  ltac:(apply Rmult_le_pos; [lra | apply pow2_ge_0])) as [H1 _].
      assert (Hbv : 0 <= beta2 h B * v i) by (apply Rmult_le_pos; lra).
      fold (v_next h B v g i) in H1.
      change (beta2 h B * v i + (1 - beta2 h B) * g i ^ 2) with (v_next h B v g i) in H1.
      rewrite ln_div in H1 by lra.
      assert (H2 : ln (beta2 h B * (eps * correction h T + v i))
                   <= ln (eps * correction h (T + B) + beta2 h B * v i)).
      { apply ln_le; [apply Rmult_lt_0_compat; lra|].
        rewrite correction_step.
        assert (0 <= eps * (1 - beta2 h B)) by (apply Rmult_le_pos; lra). lra. }
      rewrite ln_mult, ln_beta2 in H2 by lra. lra. }
    rewrite sum_plus, sum_minus, sum_const in Hstep. rewrite sum_minus in IH. rewrite sum_minus.
    change (relative_sum_corrected d h eps T v ((B, g) :: w))
      with (relative_step_corrected d h eps T B v g
            + relative_sum_corrected d h eps (T + B) (v_next h B v g) w).
    replace (INR d * (ln 2 * ((B + tokens w) / h)))
      with (INR d * (ln 2 * (B / h)) + INR d * (ln 2 * (tokens w / h))) by (unfold Rdiv; ring).
    lra.
Qed.

(** The first step starts from [b = 0] and [v = 0]. *)
Lemma log_sum_path_corrected_first d h eps Rg D B g w :
  0 < h -> 0 < eps -> B + tokens w <= D -> bounded_path d Rg ((B, g) :: w) ->
  relative_sum_corrected d h eps 0 zero_vec ((B, g) :: w)
  <= INR d * (ln (1 + Rg ^ 2 / eps) + ln (correction h D / correction h B)
              + ln 2 * ((D - B) / h)).
Proof.
  intros Hh He HD Hb. assert (HR2 := pow2_ge_0 Rg).
  inversion Hb as [|? ? [HB Hg] Hb']; subst. simpl in HB, Hg.
  destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
  destruct (correction_pos h B Hh HB) as [Hc0 _].
  assert (HDB : 0 <= tokens w).
  { clear -Hb'. induction w as [|[B' g'] w IH]; simpl; [lra|].
    inversion Hb' as [|? ? [H _] H']; subst. specialize (IH H'). simpl in H. lra. }
  destruct (correction_pos h D Hh ltac:(lra)) as [HcD _].
  assert (Hnext : forall i, (i < d)%nat ->
            0 <= v_next h B zero_vec g i <= correction h B * Rg ^ 2).
  { intros i Hi. rewrite <- (Rplus_0_l B) at 3. apply v_corrected_range; auto; [lra | |].
    - unfold zero_vec. rewrite correction_0. lra.
    - split; [apply pow2_ge_0 | apply pow2_le_of_Rabs; apply Hg; exact Hi]. }
  assert (Hrest := log_sum_path_corrected d h eps Rg D w Hh He B (v_next h B zero_vec g)
    HB HD Hb' Hnext).
  assert (Hec : 0 < eps * correction h B) by (apply Rmult_lt_0_compat; lra).
  change (relative_sum_corrected d h eps 0 zero_vec ((B, g) :: w))
    with (relative_step_corrected d h eps 0 B zero_vec g
          + relative_sum_corrected d h eps (0 + B) (v_next h B zero_vec g) w).
  rewrite Rplus_0_l.
  assert (Hfirst : relative_step_corrected d h eps 0 B zero_vec g
    <= sum d (fun i => ln (eps * correction h B + v_next h B zero_vec g i)
                       - ln (eps * correction h B))).
  { unfold relative_step_corrected. rewrite Rplus_0_l. apply sum_le. intros i Hi.
    destruct (Hnext i Hi) as [Hn0 _].
    destruct (log_step (eps * correction h B) (beta2 h B) 0 ((1 - beta2 h B) * g i ^ 2) Hec
                (conj Hb0 (Rlt_le _ _ Hb1)) (Rle_refl 0)
                ltac:(apply Rmult_le_pos; [lra | apply pow2_ge_0])) as [H1 _].
    change (beta2 h B * 0 + (1 - beta2 h B) * g i ^ 2) with (v_next h B zero_vec g i) in H1.
    rewrite Rmult_0_r, Rplus_0_r, ln_div in H1 by lra. exact H1. }
  rewrite sum_minus in Hrest, Hfirst. rewrite !sum_const in Hrest, Hfirst.
  assert (Hlog : ln (correction h D * (eps + Rg ^ 2)) - ln (eps * correction h B)
                 = ln (1 + Rg ^ 2 / eps) + ln (correction h D / correction h B)).
  { replace (1 + Rg ^ 2 / eps) with ((eps + Rg ^ 2) / eps) by (field; lra).
    rewrite !ln_div, !ln_mult by lra. ring. }
  rewrite <- Hlog.
  assert (Htok : INR d * (ln 2 * (tokens w / h)) <= INR d * (ln 2 * ((D - B) / h))).
  { apply Rmult_le_compat_l; [apply pos_INR|].
    apply Rmult_le_compat_l; [assert (H := ln_lt_2); lra|].
    apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hh | lra]. }
  lra.
Qed.

(** ** The theorem *)

Theorem adam_token_half_life_bias_corrected :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (B1 : R) (m : nat) (p : nat -> R) (g : nat -> vec) (next : nat -> tree),
  let t := Step B1 m p g next in
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run_corrected d alpha h eps Rg gradF 0 x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients_corrected d alpha h eps gradF 0 x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * Rg + L * alpha / 2)
          * (ln (1 + Rg ^ 2 / eps) + ln ((1 - beta2 h D) / (1 - beta2 h B1))
             + ln 2 * ((D - B1) / h))).
Proof.
  intros d h alpha eps Rg L D F gradF Fstar x0 B1 m p g next t Hh Ha He HR HL Hsm HF Hrun HD.
  assert (HR2 := pow2_ge_0 Rg).
  assert (Hp := adam_run_corrected_probability _ _ _ _ _ _ _ _ _ _ Hrun).
  destruct (sqrt_sq_pos (eps + Rg ^ 2) ltac:(lra)) as [Hroot Hrr].
  assert (H := telescope_corrected d alpha h eps Rg L F gradF Fstar Hh Ha He HR HL Hsm HF
    t 0 x0 zero_vec (Rle_refl 0)
    ltac:(intros i Hi; unfold zero_vec; rewrite correction_0; lra) Hrun).
  set (root := sqrt (eps + Rg ^ 2)) in *.
  set (C := 2 * alpha * Rg + L * alpha ^ 2 / 2) in *.
  set (Lam := ln (1 + Rg ^ 2 / eps) + ln ((1 - beta2 h D) / (1 - beta2 h B1))
              + ln 2 * ((D - B1) / h)) in *.
  assert (HC : 0 <= C).
  { unfold C. assert (0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
    assert (0 <= alpha * Rg) by (apply Rmult_le_pos; lra). lra. }
  assert (Hlog : E t (relative_sum_corrected d h eps 0 zero_vec) <= INR d * Lam).
  { rewrite <- (E_const t (INR d * Lam) Hp). apply E_le; [exact Hp|]. intros w Hw.
    assert (Hb := adam_run_corrected_bounded_path _ _ _ _ _ _ _ _ _ _ _ Hrun Hw).
    specialize (HD w Hw). destruct Hw as (j & w' & _ & _ & ->). simpl in HD.
    apply log_sum_path_corrected_first; assumption. }
  apply (Rmult_le_compat_l C) in Hlog; [|exact HC].
  assert (H' : alpha / (2 * root)
               * E t (weighted_gradients_corrected d alpha h eps gradF 0 x0 zero_vec)
               <= F x0 - Fstar + C * (INR d * Lam)) by lra.
  apply (Rmult_le_compat_l (2 * root / alpha)) in H'.
  2:{ left. apply Rdiv_lt_0_compat; lra. }
  rewrite <- Rmult_assoc in H'.
  replace (2 * root / alpha * (alpha / (2 * root))) with 1 in H' by (field; lra).
  rewrite Rmult_1_l in H'. apply Rle_trans with (1 := H'). right. unfold C. field. lra.
Qed.
