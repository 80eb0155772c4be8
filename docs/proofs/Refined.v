(** Two refinements of the flagship: the first batch is free, and the noise term counts the
    second moment of each batch in place of the almost sure bound. *)

From Coq Require Import Reals Lra Lia Psatz List.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

Lemma relative_sum_coef d h eps a (c1 c2 : R -> R) w : (forall B, c1 B = a * c2 B) -> forall v,
  relative_sum d h eps c1 v w = a * relative_sum d h eps c2 v w.
Proof.
  intros H. induction w as [|[B g] w IH]; intros v; simpl; [ring|]. rewrite IH, H. ring.
Qed.

Lemma relative_sum_plus d h eps (c1 c2 : R -> R) w : forall v,
  relative_sum d h eps (fun B => c1 B + c2 B) v w
  = relative_sum d h eps c1 v w + relative_sum d h eps c2 v w.
Proof.
  induction w as [|[B g] w IH]; intros v; simpl; [ring|]. rewrite IH. ring.
Qed.

(** The telescoped inequality from a start at zero, before any logarithm. *)
Lemma telescope_from_zero d alpha h eps Rg L rho F gradF Fstar x0 t :
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t -> second_moments d rho t ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + E t (relative_sum d h eps (fun B => 2 * rho B + L * alpha / 2) zero_vec)).
Proof.
  intros Hh Ha He HL Hsm HF Hrun Hmom.
  assert (HR2 := pow2_ge_0 Rg).
  destruct (sqrt_sq_pos (eps + Rg ^ 2) ltac:(lra)) as [Hroot Hrr].
  set (root := sqrt (eps + Rg ^ 2)) in *.
  assert (H := telescope d alpha h eps Rg L rho F gradF Fstar (Rg ^ 2) root
    Hh Ha He HL Hroot (Rle_refl _) ltac:(lra) Hsm HF t x0 zero_vec
    ltac:(intros i Hi; unfold zero_vec; lra) Hrun Hmom).
  rewrite (E_ext t (relative_sum d h eps (fun B => 2 * alpha * rho B + L * alpha ^ 2 / 2) zero_vec)
    (fun w => alpha * relative_sum d h eps (fun B => 2 * rho B + L * alpha / 2) zero_vec w)) in H
    by (intros; apply relative_sum_coef; intros; field).
  rewrite E_scal in H.
  apply (Rmult_le_compat_l (2 * root / alpha)) in H.
  2:{ left. apply Rdiv_lt_0_compat; lra. }
  rewrite <- Rmult_assoc in H.
  replace (2 * root / alpha * (alpha / (2 * root))) with 1 in H by (field; lra).
  rewrite Rmult_1_l in H. apply Rle_trans with (1 := H). right.
  replace (fun w => relative_sum d h eps (fun B => 2 * rho B + L * alpha / 2) zero_vec w)
    with (relative_sum d h eps (fun B => 2 * rho B + L * alpha / 2) zero_vec) by reflexivity.
  field. lra.
Qed.

(** ** The first batch is free *)

Lemma log_sum_path_first d h eps Rg B g w :
  0 < h -> 0 < eps -> bounded_path d Rg ((B, g) :: w) ->
  relative_sum d h eps (fun _ => 1) zero_vec ((B, g) :: w)
  <= INR d * (ln (1 + Rg ^ 2 / eps) + ln 2 * (tokens w / h)).
Proof.
  intros Hh He Hb. simpl. inversion Hb as [|? ? [HB Hg] Hb']; subst. simpl in HB, Hg.
  destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
  assert (HR2 := pow2_ge_0 Rg).
  assert (Hnext : forall i, (i < d)%nat ->
            0 <= v_next h B zero_vec g i <= Rg ^ 2 /\ Rg ^ 2 <= Rg ^ 2).
  { intros i Hi. split; [|lra]. apply v_hat_range; [exact Hh | exact HB | unfold zero_vec; lra|].
    split; [apply pow2_ge_0 | apply pow2_le_of_Rabs; apply Hg; exact Hi]. }
  assert (Hrest := log_sum_path d h eps Rg w Hh He (v_next h B zero_vec g) (fun _ => Rg ^ 2) Hb' Hnext).
  assert (Hfirst : relative_step d h eps B zero_vec g
                   <= sum d (fun i => ln (eps + v_next h B zero_vec g i) - ln eps)).
  { apply sum_le. intros i Hi.
    destruct (log_step eps (beta2 h B) 0 ((1 - beta2 h B) * g i ^ 2) He (conj Hb0 (Rlt_le _ _ Hb1))
                (Rle_refl 0) ltac:(apply Rmult_le_pos; [lra | apply pow2_ge_0])) as [H1 _].
    rewrite Rmult_0_r, Rplus_0_r in H1. rewrite ln_div in H1.
    2:{ assert (0 <= (1 - beta2 h B) * g i ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]). lra. }
    2: exact He.
    unfold v_next, zero_vec. rewrite Rmult_0_r. exact H1. }
  assert (Htel : sum d (fun i => ln (eps + v_next h B zero_vec g i) - ln eps)
                 + sum d (fun i => ln ((eps + Rg ^ 2) / (eps + v_next h B zero_vec g i)))
                 = INR d * ln (1 + Rg ^ 2 / eps)).
  { rewrite <- sum_plus, <- sum_const. apply sum_ext. intros i Hi.
    destruct (Hnext i Hi) as [[Hn0 _] _].
    rewrite ln_div by lra. replace (1 + Rg ^ 2 / eps) with ((eps + Rg ^ 2) / eps) by (field; lra).
    rewrite ln_div by lra. ring. }
  rewrite Rmult_1_l, Rmult_plus_distr_l. lra.
Qed.

(** The residual counts the tokens after the first batch, [D - B1]. *)
Theorem adam_token_half_life_first_batch :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (B1 : R) (m : nat) (p : nat -> R) (g : nat -> vec) (next : nat -> tree),
  let t := Step B1 m p g next in
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * Rg + L * alpha / 2)
          * (ln (1 + Rg ^ 2 / eps) + ln 2 * ((D - B1) / h))).
Proof.
  intros d h alpha eps Rg L D F gradF Fstar x0 B1 m p g next t Hh Ha He HR HL Hsm HF Hrun HD.
  assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
  apply Rle_trans with (1 := telescope_from_zero d alpha h eps Rg L (fun _ => Rg) F gradF Fstar x0 t
    Hh Ha He HL Hsm HF Hrun (adam_run_second_moments _ _ _ _ _ _ _ HR _ _ Hrun)).
  apply Rmult_le_compat_l; [assert (H := sqrt_pos (eps + Rg ^ 2)); lra|].
  apply Rplus_le_compat_l.
  set (C := 2 * Rg + L * alpha / 2).
  assert (HC : 0 <= C) by (unfold C; assert (0 <= L * alpha) by (apply Rmult_le_pos; lra); lra).
  rewrite <- (E_const t (INR d * C * _) Hp). apply E_le; [exact Hp|]. intros w Hw.
  assert (Hb := adam_run_bounded_path _ _ _ _ _ _ _ _ _ _ Hrun Hw).
  specialize (HD w Hw). destruct Hw as (j & w' & Hj & Hw' & ->). simpl in HD.
  rewrite (relative_sum_coef d h eps C (fun B => 2 * (fun _ => Rg) B + L * alpha / 2) (fun _ => 1))
    by (intros; unfold C; ring).
  replace (INR d * C * _) with (C * (INR d * (ln (1 + Rg ^ 2 / eps) + ln 2 * ((D - B1) / h)))) by ring.
  apply Rmult_le_compat_l; [exact HC|].
  apply Rle_trans with (1 := log_sum_path_first d h eps Rg B1 (g j) w' Hh He Hb).
  apply Rmult_le_compat_l; [apply pos_INR|]. apply Rplus_le_compat_l.
  apply Rmult_le_compat_l; [assert (H := ln_lt_2); lra|].
  apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hh | lra].
Qed.

(** ** The variance-aware form *)

(** [sum_k r_k B_k] along one run, [r_k = rho B_k]. *)
Fixpoint rate_tokens (rho : R -> R) (w : path) : R :=
  match w with
  | [] => 0
  | (B, _) :: w' => rho B * B + rate_tokens rho w'
  end.

(** [r_K + sum_(k<K) (r_k - r_(k+1))_+]: what a change of the rate costs. *)
Fixpoint rate_cost (rho : R -> R) (w : path) : R :=
  match w with
  | [] => 0
  | (B, _) :: w' =>
      match w' with
      | [] => rho B
      | (B', _) :: _ => Rmax (rho B - rho B') 0 + rate_cost rho w'
      end
  end.

Definition head_rate (rho : R -> R) (w : path) : R :=
  match w with [] => 0 | (B, _) :: _ => rho B end.

Lemma rate_cost_cons rho B g w :
  0 <= rho B -> rate_cost rho ((B, g) :: w) >= rho B - head_rate rho w + rate_cost rho w
  /\ rate_cost rho ((B, g) :: w) >= rate_cost rho w.
Proof.
  intros H. destruct w as [|[B' g'] w].
  - simpl. lra.
  - change (rate_cost rho ((B, g) :: (B', g') :: w))
      with (Rmax (rho B - rho B') 0 + rate_cost rho ((B', g') :: w)).
    simpl head_rate. assert (H1 := Rmax_l (rho B - rho B') 0). assert (H2 := Rmax_r (rho B - rho B') 0).
    lra.
Qed.

(** The rates are nonnegative along every run. *)
Definition nonneg_rates (rho : R -> R) (w : path) : Prop := Forall (fun s => 0 <= rho (fst s)) w.

Lemma second_moments_nonneg_rates d rho t : forall w,
  second_moments d rho t -> path_of t w -> nonneg_rates rho w.
Proof.
  induction t as [|B m p g next IH]; simpl; intros w H Hw.
  - subst w. constructor.
  - destruct H as (H0 & _ & Hn). destruct Hw as (j & w' & Hj & Hw' & ->).
    constructor; [exact H0|]. exact (IH j w' (Hn j Hj) Hw').
Qed.

(** Abel summation with the logarithms [ln (1 + v_k / eps)], which lie between [0] and
    [ln (1 + R^2 / eps)]. *)
Lemma weighted_log_sum_path d h eps Rg rho w : 0 < h -> 0 < eps -> forall v,
  bounded_path d Rg w -> nonneg_rates rho w ->
  (forall i, (i < d)%nat -> 0 <= v i <= Rg ^ 2) ->
  relative_sum d h eps rho v w + head_rate rho w * sum d (fun i => ln (eps + v i) - ln eps)
  <= INR d * (ln (1 + Rg ^ 2 / eps) * rate_cost rho w + ln 2 / h * rate_tokens rho w).
Proof.
  intros Hh He. induction w as [|[B g] w IH]; intros v Hb Hn Hv.
  - simpl. right. ring.
  - inversion Hb as [|? ? [HB Hg] Hb']; subst. inversion Hn as [|? ? Hr Hn']; subst.
    simpl in HB, Hg, Hr. destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
    assert (Hnext : forall i, (i < d)%nat -> 0 <= v_next h B v g i <= Rg ^ 2).
    { intros i Hi. apply v_hat_range; [exact Hh | exact HB | apply Hv; exact Hi|].
      split; [apply pow2_ge_0 | apply pow2_le_of_Rabs; apply Hg; exact Hi]. }
    specialize (IH (v_next h B v g) Hb' Hn' Hnext).
    destruct (rate_cost_cons rho B g w Hr) as [Hc1 Hc2].
    set (l0 := sum d (fun i => ln (eps + v i) - ln eps)) in *.
    set (l1 := sum d (fun i => ln (eps + v_next h B v g i) - ln eps)) in *.
    set (lmax := ln (1 + Rg ^ 2 / eps)) in *.
    assert (Hstep : relative_step d h eps B v g <= l1 - l0 + INR d * (ln 2 / h * B)).
    { unfold l1, l0. rewrite <- sum_minus, <- sum_const, <- sum_plus.
      apply sum_le. intros i Hi. destruct (Hv i Hi) as [Hv0 _]. destruct (Hnext i Hi) as [Hn0 _].
      destruct (log_step eps (beta2 h B) (v i) ((1 - beta2 h B) * g i ^ 2) He
                  (conj Hb0 (Rlt_le _ _ Hb1)) Hv0
                  ltac:(apply Rmult_le_pos; [lra | apply pow2_ge_0])) as [H1 H2].
      fold (v_next h B v g i) in H1, H2.
      rewrite ln_beta2, (ln_div _ (eps + v i)) in H2 by lra.
      unfold v_next at 1. unfold v_next in H1 at 1.
      replace (ln 2 / h * B) with (ln 2 * (B / h)) by (unfold Rdiv; ring). lra. }
    assert (Hl1 : 0 <= l1 <= INR d * lmax).
    { unfold l1. split.
      - apply sum_nonneg. intros i Hi. destruct (Hnext i Hi) as [Hn0 _].
        assert (H := ln_le eps (eps + v_next h B v g i)). lra.
      - rewrite <- sum_const. apply sum_le. intros i Hi. destruct (Hnext i Hi) as [Hn0 Hn1].
        unfold lmax. replace (1 + Rg ^ 2 / eps) with ((eps + Rg ^ 2) / eps) by (field; lra).
        rewrite ln_div by lra.
        assert (H := ln_le (eps + v_next h B v g i) (eps + Rg ^ 2)). lra. }
    change (relative_sum d h eps rho v ((B, g) :: w))
      with (rho B * relative_step d h eps B v g + relative_sum d h eps rho (v_next h B v g) w).
    change (head_rate rho ((B, g) :: w)) with (rho B).
    change (rate_tokens rho ((B, g) :: w)) with (rho B * B + rate_tokens rho w).
    apply (Rmult_le_compat_l (rho B)) in Hstep; [|exact Hr].
    (* the coefficient of l1 is rho B - head_rate w *)
    assert (Habel : (rho B - head_rate rho w) * l1
                    <= INR d * lmax * (rate_cost rho ((B, g) :: w) - rate_cost rho w)).
    { destruct (Rle_lt_dec 0 (rho B - head_rate rho w)) as [Hpos | Hneg].
      - apply Rle_trans with ((rho B - head_rate rho w) * (INR d * lmax)).
        + apply Rmult_le_compat_l; lra.
        + rewrite Rmult_comm. apply Rmult_le_compat_l; lra.
      - apply Rle_trans with 0; [|apply Rmult_le_pos; lra].
        replace 0 with (0 * l1) by ring. apply Rmult_le_compat_r; lra. }
    rewrite !Rmult_plus_distr_l in *. lra.
Qed.

(** With [E_{k-1} g_{k,i}^2 <= (rho B_k)^2] at every step. *)
Theorem adam_token_half_life_variance_aware :
  forall (d : nat) (h alpha eps Rg L D : R) (rho : R -> R) (F : vec -> R) (gradF : vec -> vec)
         (Fstar : R) (x0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t -> second_moments d rho t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * (ln (1 + Rg ^ 2 / eps) * E t (rate_cost rho)
                        + ln 2 / h * E t (rate_tokens rho))
                   + L * alpha / 2 * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h)))).
Proof.
  intros d h alpha eps Rg L D rho F gradF Fstar x0 t Hh Ha He HL Hsm HF Hrun Hmom HD.
  assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
  assert (HR2 := pow2_ge_0 Rg).
  apply Rle_trans with (1 := telescope_from_zero d alpha h eps Rg L rho F gradF Fstar x0 t
    Hh Ha He HL Hsm HF Hrun Hmom).
  apply Rmult_le_compat_l; [assert (H := sqrt_pos (eps + Rg ^ 2)); lra|].
  apply Rplus_le_compat_l.
  set (lmax := ln (1 + Rg ^ 2 / eps)) in *.
  assert (HLa : 0 <= L * alpha) by (apply Rmult_le_pos; lra).
  apply Rle_trans with (E t (fun w =>
    2 * (INR d * lmax) * rate_cost rho w + 2 * (INR d * (ln 2 / h)) * rate_tokens rho w
    + INR d * (L * alpha / 2 * (lmax + ln 2 * (D / h))))).
  2:{ rewrite !E_plus, !E_scal, E_const by exact Hp.
      change (fun w => rate_cost rho w) with (rate_cost rho).
      change (fun w => rate_tokens rho w) with (rate_tokens rho). right. ring. }
  apply E_le; [exact Hp|]. intros w Hw.
  assert (Hb := adam_run_bounded_path _ _ _ _ _ _ _ _ _ _ Hrun Hw).
  specialize (HD w Hw).
  rewrite relative_sum_plus, (relative_sum_coef d h eps 2 (fun B => 2 * rho B) rho) by reflexivity.
  rewrite (relative_sum_scal d h eps (L * alpha / 2)).
  assert (H1 := weighted_log_sum_path d h eps Rg rho w Hh He zero_vec Hb
    (second_moments_nonneg_rates d rho t w Hmom Hw) ltac:(intros i Hi; unfold zero_vec; lra)).
  rewrite (sum_ext d (fun i => ln (eps + zero_vec i) - ln eps) (fun _ => 0)) in H1
    by (intros; unfold zero_vec; rewrite Rplus_0_r; ring).
  rewrite sum_const, !Rmult_0_r, Rplus_0_r in H1.
  assert (H2 := log_sum_path d h eps Rg w Hh He zero_vec (fun _ => Rg ^ 2) Hb
    ltac:(intros i Hi; unfold zero_vec; lra)).
  cbv beta in H2.
  rewrite (sum_ext d (fun i => ln ((eps + Rg ^ 2) / (eps + zero_vec i))) (fun _ => lmax)) in H2
    by (intros; unfold zero_vec, lmax; f_equal; field; lra).
  rewrite sum_const in H2.
  assert (H3 : INR d * lmax + INR d * (ln 2 * (tokens w / h))
               <= INR d * (lmax + ln 2 * (D / h))).
  { rewrite <- Rmult_plus_distr_l. apply Rmult_le_compat_l; [apply pos_INR|].
    apply Rplus_le_compat_l. apply Rmult_le_compat_l; [assert (H := ln_lt_2); lra|].
    apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hh | exact HD]. }
  assert (H4 : L * alpha / 2 * relative_sum d h eps (fun _ => 1) zero_vec w
               <= L * alpha / 2 * (INR d * (lmax + ln 2 * (D / h)))).
  { apply Rmult_le_compat_l; lra. }
  fold lmax in H1. lra.
Qed.

(** A batch size that never falls makes the rates fall, and their changes cost [r_1] only. *)
Fixpoint ramp_up (w : path) : Prop :=
  match w with
  | [] => True
  | (B, _) :: w' => match w' with [] => True | (B', _) :: _ => B <= B' end /\ ramp_up w'
  end.

Lemma rate_cost_ramp_up rho w :
  (forall B B', 0 < B -> B <= B' -> rho B' <= rho B) ->
  Forall (fun s => 0 < fst s) w -> ramp_up w -> rate_cost rho w = head_rate rho w.
Proof.
  intros Hmono. induction w as [|[B g] w IH]; intros Hpos Hup; [reflexivity|].
  destruct w as [|[B' g'] w]; [reflexivity|].
  change (rate_cost rho ((B, g) :: (B', g') :: w))
    with (Rmax (rho B - rho B') 0 + rate_cost rho ((B', g') :: w)).
  destruct Hup as [HB Hup]. inversion Hpos as [|? ? H0 Hpos']; subst. simpl in H0.
  rewrite IH by assumption. simpl. specialize (Hmono B B' H0 HB).
  rewrite Rmax_left by lra. ring.
Qed.

(** [rho B = sqrt (G^2 + sigma^2 / B)], batches that never fall: the noise is charged
    [ln (1 + R^2/eps) r_1 + (ln 2 / h) sum_k r_k B_k]. *)
Corollary adam_token_half_life_ramp_up :
  forall (d : nat) (h alpha eps Rg L D Ginf sigma : R) (F : vec -> R) (gradF : vec -> vec)
         (Fstar : R) (x0 : vec) (B1 : R) (m : nat) (p : nat -> R) (g : nat -> vec)
         (next : nat -> tree),
  let t := Step B1 m p g next in
  let rho := fun B => sqrt (Ginf ^ 2 + sigma ^ 2 / B) in
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t -> second_moments d rho t ->
  (forall w, path_of t w -> tokens w <= D /\ ramp_up w) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * (ln (1 + Rg ^ 2 / eps) * rho B1 + ln 2 / h * E t (rate_tokens rho))
                   + L * alpha / 2 * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h)))).
Proof.
  intros d h alpha eps Rg L D Ginf sigma F gradF Fstar x0 B1 m p g next t rho
    Hh Ha He HL Hsm HF Hrun Hmom HD.
  assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
  replace (rho B1) with (E t (rate_cost rho)).
  - apply adam_token_half_life_variance_aware; try assumption. intros w Hw. apply HD. exact Hw.
  - rewrite <- (E_const t (rho B1) Hp). apply E_ext. intros w Hw. rewrite rate_cost_ramp_up.
    + destruct Hw as (j & w' & _ & _ & ->). reflexivity.
    + intros B B' HB HBB. unfold rho. apply sqrt_le_1_alt. apply Rplus_le_compat_l.
      apply Rmult_le_compat_l; [apply pow2_ge_0 | apply Rinv_le_contravar; assumption].
    + assert (Hb := adam_run_bounded_path _ _ _ _ _ _ _ _ _ _ Hrun Hw).
      eapply Forall_impl; [|exact Hb]. intros s [Hs _]. exact Hs.
    + apply HD. exact Hw.
Qed.
