(** A smaller constant: [R/2] in place of [2R].

    The one-step lemma compares [1 / sqrt (eps + v)] with the same root at the conditional
    second moment, from above and from below.  With the almost sure bound [R^2] in place of
    the second moment, [v] can only be smaller, one of the two comparisons disappears, and
    Young's inequality is needed once.  [theta] in (0, 1) is its free weight. *)

From Coq Require Import Reals Lra Lia Psatz List.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** One outcome: the new contribution [e] is at most [r^2]. *)
Lemma sharp_outcome theta eps u e r G g :
  0 < theta -> 0 < eps -> 0 <= u -> 0 <= r -> 0 <= e <= r ^ 2 ->
  G * g / sqrt (eps + (u + r ^ 2)) - theta * (G ^ 2 / sqrt (eps + (u + r ^ 2)))
  - r / (4 * theta) * (g ^ 2 / (eps + (u + e)))
  <= G * g / sqrt (eps + (u + e)).
Proof.
  intros Ht He Hu Hr [He0 He1].
  assert (HP2 : 0 < eps + (u + e)) by lra. assert (HQ2 : 0 < eps + (u + r ^ 2)) by lra.
  destruct (sqrt_sq_pos _ HP2) as [HP HPP]. destruct (sqrt_sq_pos _ HQ2) as [HQ HQQ].
  assert (HPQ : sqrt (eps + (u + e)) <= sqrt (eps + (u + r ^ 2))) by (apply sqrt_le_1_alt; lra).
  replace (g ^ 2 / (eps + (u + e)))
    with ((g / sqrt (eps + (u + e))) ^ 2) by (rewrite <- HPP at 2; field; lra).
  set (P := sqrt (eps + (u + e))) in *. set (Q := sqrt (eps + (u + r ^ 2))) in *.
  assert (HrQ : r <= Q) by (apply Rsqr_incr_0_var; unfold Rsqr; nra).
  set (q := g / P).
  (* |G g (1/P - 1/Q)| <= |G q| r^2 / Q^2 *)
  set (k := (Q - P) / Q).
  assert (Hk0 : 0 <= k).
  { unfold k. apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]. }
  assert (Hk1 : k <= r ^ 2 / Q ^ 2).
  { unfold k. apply (Rmult_le_reg_r (Q ^ 2)); [apply pow_lt; lra|].
    replace ((Q - P) / Q * Q ^ 2) with ((Q - P) * Q) by (field; lra).
    replace (r ^ 2 / Q ^ 2 * Q ^ 2) with (r ^ 2) by (field; lra). nra. }
  replace (G * g / P) with (G * g / Q + G * q * k) by (unfold q, k; field; lra).
  set (t := r / Q).
  assert (Ht0 : 0 <= t) by (apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]).
  assert (Ht1 : t <= 1) by (apply (Rmult_le_reg_r Q); [lra | unfold t; field_simplify; lra]).
  replace (r ^ 2 / Q ^ 2) with (t ^ 2) in Hk1 by (unfold t; field; lra).
  assert (HY := young G (q * k) (theta / Q) ltac:(apply Rdiv_lt_0_compat; lra)).
  assert (Hy2 : (q * k) ^ 2 / (4 * (theta / Q)) <= r / (4 * theta) * q ^ 2).
  { replace ((q * k) ^ 2 / (4 * (theta / Q))) with (/ (4 * theta) * q ^ 2 * (k ^ 2 * Q)) by (field; lra).
    replace (r / (4 * theta) * q ^ 2) with (/ (4 * theta) * q ^ 2 * (t * Q)) by (unfold t; field; lra).
    apply Rmult_le_compat_l.
    - apply Rmult_le_pos; [left; apply Rinv_0_lt_compat; lra | apply pow2_ge_0].
    - apply Rmult_le_compat_r; [lra|].
      assert (Hkt : k ^ 2 <= (t ^ 2) ^ 2) by (apply pow_incr; lra).
      assert (Ht3 : t ^ 3 <= 1) by (rewrite <- (pow1 3); apply pow_incr; lra).
      replace ((t ^ 2) ^ 2) with (t * t ^ 3) in Hkt by ring. nra. }
  assert (HA := Rle_abs (- (G * (q * k)))). rewrite Rabs_Ropp in HA.
  replace (theta * (G ^ 2 / Q)) with (theta / Q * G ^ 2) by (unfold Rdiv; ring).
  replace (G * q * k) with (G * (q * k)) by ring. lra.
Qed.

(** The one-step lemma with the almost sure bound. *)
Lemma one_step_sharp theta m p g G eps c u Rg root :
  0 < theta < 1 -> distribution m p -> 0 < eps -> 0 <= c -> 0 <= u -> 0 <= Rg -> 0 < root ->
  mean m p g = G -> (forall j, (j < m)%nat -> Rabs (g j) <= Rg) ->
  eps + (u + c * Rg ^ 2) <= root ^ 2 ->
  (1 - theta) * (G ^ 2 / root)
  - sqrt c * Rg / (4 * theta) * mean m p (fun j => g j ^ 2 / (eps + (u + c * g j ^ 2)))
  <= mean m p (fun j => G * g j / sqrt (eps + (u + c * g j ^ 2))).
Proof.
  intros [Ht0 Ht1] Hd He Hc Hu HR Hroot HG Hg Hle.
  assert (Hr : 0 <= sqrt c * Rg) by (apply Rmult_le_pos; [apply sqrt_pos | exact HR]).
  assert (Hr2 : (sqrt c * Rg) ^ 2 = c * Rg ^ 2).
  { replace ((sqrt c * Rg) ^ 2) with (sqrt c * sqrt c * Rg ^ 2) by ring.
    rewrite sqrt_sqrt by exact Hc. ring. }
  assert (HcR : 0 <= c * Rg ^ 2) by (apply Rmult_le_pos; [exact Hc | apply pow2_ge_0]).
  destruct (sqrt_sq_pos (eps + (u + c * Rg ^ 2)) ltac:(lra)) as [HQ _].
  set (Q := sqrt (eps + (u + c * Rg ^ 2))) in *.
  assert (HQroot : Q <= root) by (rewrite <- (sqrt_pow2 root) by lra; apply sqrt_le_1_alt; exact Hle).
  apply Rle_trans with (mean m p (fun j => G * g j / Q - theta * (G ^ 2 / Q)
    - sqrt c * Rg / (4 * theta) * (g j ^ 2 / (eps + (u + c * g j ^ 2))))).
  - rewrite !mean_minus, (conditional_unbiasedness m p g G Q HG), mean_const, mean_scal by exact Hd.
    apply Rplus_le_compat_r.
    replace (G ^ 2 / Q - theta * (G ^ 2 / Q)) with ((1 - theta) * (G ^ 2 / Q)) by ring.
    apply Rmult_le_compat_l; [lra|].
    apply Rmult_le_compat_l; [apply pow2_ge_0 | apply Rinv_le_contravar; assumption].
  - apply mean_le; [exact Hd|]. intros j Hj. unfold Q. rewrite <- Hr2.
    apply sharp_outcome; try assumption. rewrite Hr2. split.
    + apply Rmult_le_pos; [exact Hc | apply pow2_ge_0].
    + apply Rmult_le_compat_l; [exact Hc | apply pow2_le_of_Rabs; apply Hg; exact Hj].
Qed.

(** The descent inequality at a node. *)
Lemma descent_sharp theta d alpha h eps Rg L F gradF M root x v B m p g :
  0 < theta < 1 -> 0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L -> 0 < root ->
  Rg ^ 2 <= M -> eps + M <= root ^ 2 ->
  smooth d L F gradF ->
  (forall i, (i < d)%nat -> 0 <= v i <= M) ->
  0 < B -> distribution m p ->
  (forall i, (i < d)%nat -> mean m p (fun j => g j i) = gradF x i) ->
  (forall j, (j < m)%nat -> forall i, (i < d)%nat -> Rabs (g j i) <= Rg) ->
  alpha * (1 - theta) / root * (sqrt (1 - beta2 h B) * norm_sq d (gradF x))
  + mean m p (fun j => F (x_next alpha h eps B x v (g j)))
  <= F x + (alpha * (Rg / (4 * theta)) + L * alpha ^ 2 / 2)
           * mean m p (fun j => relative_step d h eps B v (g j)).
Proof.
  intros Htheta Hh Ha He HR HL Hroot HRM HMroot Hsm Hv HB Hd Hub Hg.
  destruct (beta2_bounds h B Hh HB) as [Hb0 Hb1].
  unfold relative_step, x_next, v_next, norm_sq.
  set (b := beta2 h B) in *. set (s := sqrt (1 - b)).
  assert (Hs : 0 < s) by (apply sqrt_lt_R0; lra).
  assert (Hss : s * s = 1 - b) by (apply sqrt_sqrt; lra).
  set (rel := fun i j => (1 - b) * g j i ^ 2 / (eps + (b * v i + (1 - b) * g j i ^ 2))).
  set (dir := fun i j => gradF x i * g j i / sqrt (eps + (b * v i + (1 - b) * g j i ^ 2))).
  assert (Hpos : forall i j, (i < d)%nat -> 0 < eps + (b * v i + (1 - b) * g j i ^ 2)).
  { intros i j Hi. destruct (Hv i Hi) as [Hv0 _]. assert (Hq := pow2_ge_0 (g j i)).
    assert (0 <= b * v i) by (apply Rmult_le_pos; lra).
    assert (0 <= (1 - b) * g j i ^ 2) by (apply Rmult_le_pos; lra). lra. }
  apply Rle_trans with
    (alpha * (1 - theta) / root * (s * sum d (fun i => gradF x i ^ 2))
     + mean m p (fun j => F x + sum d (fun i => - (alpha * s) * dir i j)
                          + L * alpha ^ 2 / 2 * sum d (fun i => rel i j))).
  { apply Rplus_le_compat_l. apply mean_le; [exact Hd|]. intros j Hj.
    eapply Rle_trans; [apply Hsm|]. right. f_equal; [f_equal|].
    - apply sum_ext. intros i Hi. cbv beta. rewrite (Rplus_comm (b * v i + _) eps).
      unfold dir, Rdiv. ring.
    - replace (L * alpha ^ 2 / 2) with (L / 2 * alpha ^ 2) by field.
      rewrite Rmult_assoc. f_equal. rewrite <- sum_scal.
      apply sum_ext. intros i Hi. cbv beta. unfold rel. rewrite (Rplus_comm (b * v i + _) eps).
      specialize (Hpos i j Hi). destruct (sqrt_sq_pos _ Hpos) as [HP HPP].
      set (P := sqrt (eps + (b * v i + (1 - b) * g j i ^ 2))) in *.
      rewrite <- HPP, <- Hss. field. lra. }
  rewrite !mean_plus, (mean_const m p (F x)), mean_scal, !mean_sum by exact Hd.
  assert (Hcoord : sum d (fun i =>
      alpha * (1 - theta) / root * s * gradF x i ^ 2 + mean m p (fun j => - (alpha * s) * dir i j))
    <= sum d (fun i => alpha * (Rg / (4 * theta)) * mean m p (rel i))).
  { apply sum_le. intros i Hi. destruct (Hv i Hi) as [Hv0 HvM].
    assert (Hle : eps + (b * v i + (1 - b) * Rg ^ 2) <= root ^ 2).
    { assert (b * v i <= b * M) by (apply Rmult_le_compat_l; lra).
      assert ((1 - b) * Rg ^ 2 <= (1 - b) * M) by (apply Rmult_le_compat_l; lra). lra. }
    assert (H := one_step_sharp theta m p (fun j => g j i) (gradF x i) eps (1 - b) (b * v i) Rg root
      Htheta Hd He ltac:(lra) ltac:(apply Rmult_le_pos; lra) HR Hroot (Hub i Hi)
      (fun j Hj => Hg j Hj i Hi) Hle).
    fold s in H. cbv beta in H. fold (dir i) in H.
    rewrite (mean_ext m p (rel i)
               (fun j => (1 - b) * (g j i ^ 2 / (eps + (b * v i + (1 - b) * g j i ^ 2)))))
      by (intros; unfold rel, Rdiv; ring).
    rewrite !mean_scal.
    set (X := mean m p (fun j => g j i ^ 2 / _)) in *.
    set (Y := mean m p (dir i)) in *.
    assert (Has : 0 <= alpha * s) by (apply Rmult_le_pos; lra).
    apply (Rmult_le_compat_l (alpha * s)) in H; [|exact Has].
    replace (alpha * s * ((1 - theta) * (gradF x i ^ 2 / root) - s * Rg / (4 * theta) * X))
      with (alpha * (1 - theta) / root * s * gradF x i ^ 2
            - alpha * (Rg / (4 * theta)) * ((s * s) * X)) in H by (field; lra).
    rewrite Hss in H. change (mean m p (fun j => dir i j)) with Y. lra. }
  rewrite sum_plus, !sum_scal in Hcoord. rewrite Rmult_plus_distr_r.
  rewrite <- (Rmult_assoc (alpha * (1 - theta) / root)).
  unfold rel in Hcoord |- *. lra.
Qed.

Lemma telescope_sharp theta d alpha h eps Rg L F gradF Fstar M root :
  0 < theta < 1 -> 0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L -> 0 < root ->
  Rg ^ 2 <= M -> eps + M <= root ^ 2 ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  forall t x v,
  (forall i, (i < d)%nat -> 0 <= v i <= M) ->
  adam_run d alpha h eps Rg gradF x v t ->
  alpha * (1 - theta) / root * E t (weighted_gradients d alpha h eps gradF x v)
  <= F x - Fstar
     + (alpha * (Rg / (4 * theta)) + L * alpha ^ 2 / 2)
       * E t (relative_sum d h eps (fun _ => 1) v).
Proof.
  intros Htheta Hh Ha He HR HL Hroot HRM HMroot Hsm HF.
  set (C := alpha * (Rg / (4 * theta)) + L * alpha ^ 2 / 2).
  set (a := alpha * (1 - theta) / root).
  induction t as [|B m p g next IH]; intros x v Hv Hrun.
  - simpl. specialize (HF x). lra.
  - simpl in Hrun. destruct Hrun as (HB & Hd & Hub & Hn).
    assert (Hdesc := descent_sharp theta d alpha h eps Rg L F gradF M root x v B m p g
      Htheta Hh Ha He HR HL Hroot HRM HMroot Hsm Hv HB Hd Hub (fun j Hj => proj1 (Hn j Hj))).
    fold a C in Hdesc. simpl E.
    set (G := sqrt (1 - beta2 h B) * norm_sq d (gradF x)) in *.
    set (W := fun j => E (next j) (weighted_gradients d alpha h eps gradF
                (x_next alpha h eps B x v (g j)) (v_next h B v (g j)))).
    set (Q := fun j => E (next j) (relative_sum d h eps (fun _ => 1) (v_next h B v (g j)))).
    assert (Hprob : forall j, (j < m)%nat -> probability (next j)).
    { intros j Hj. destruct (Hn j Hj) as [_ Hrj].
      exact (adam_run_probability _ _ _ _ _ _ _ _ _ Hrj). }
    rewrite (mean_ext m p _ (fun j => G + W j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [reflexivity | apply Hprob; exact Hj]. }
    rewrite (mean_ext m p (fun j => E (next j) _)
               (fun j => relative_step d h eps B v (g j) + Q j)).
    2:{ intros j Hj. rewrite E_plus, E_const; [rewrite Rmult_1_l; reflexivity | apply Hprob; exact Hj]. }
    rewrite !mean_plus, mean_const by exact Hd.
    assert (Hrest : a * mean m p W
        <= mean m p (fun j => F (x_next alpha h eps B x v (g j))) - Fstar + C * mean m p Q).
    { rewrite <- !mean_scal. rewrite <- (mean_const m p Fstar) at 1 by exact Hd.
      rewrite <- mean_minus, <- mean_plus. apply mean_le; [exact Hd|]. intros j Hj.
      destruct (Hn j Hj) as [Hg Hrj]. apply IH; [|exact Hrj].
      intros i Hi. apply v_hat_range; [exact Hh | exact HB | apply Hv; exact Hi|].
      split; [apply pow2_ge_0|]. apply Rle_trans with (Rg ^ 2); [|exact HRM].
      apply pow2_le_of_Rabs. apply Hg. exact Hi. }
    rewrite !Rmult_plus_distr_l. lra.
Qed.

(** The family of bounds, [theta] free. *)
Theorem adam_token_half_life_theta :
  forall (theta : R) (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec)
         (Fstar : R) (x0 : vec) (t : tree),
  0 < theta < 1 -> 0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= sqrt (eps + Rg ^ 2) / (1 - theta)
     * ((F x0 - Fstar) / alpha
        + INR d * (Rg / (4 * theta) + L * alpha / 2) * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h))).
Proof.
  intros theta d h alpha eps Rg L D F gradF Fstar x0 t Htheta Hh Ha He HR HL Hsm HF Hrun HD.
  assert (HR2 := pow2_ge_0 Rg).
  assert (Hp := adam_run_probability _ _ _ _ _ _ _ _ _ Hrun).
  destruct (sqrt_sq_pos (eps + Rg ^ 2) ltac:(lra)) as [Hroot Hrr].
  set (root := sqrt (eps + Rg ^ 2)) in *.
  assert (H := telescope_sharp theta d alpha h eps Rg L F gradF Fstar (Rg ^ 2) root
    Htheta Hh Ha He HR HL Hroot (Rle_refl _) ltac:(lra) Hsm HF t x0 zero_vec
    ltac:(intros i Hi; unfold zero_vec; lra) Hrun).
  set (C := alpha * (Rg / (4 * theta)) + L * alpha ^ 2 / 2) in *.
  set (Lam := ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h)) in *.
  assert (HC : 0 <= C).
  { unfold C. assert (0 <= L * alpha ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
    assert (0 <= Rg / (4 * theta)) by (apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra]).
    assert (0 <= alpha * (Rg / (4 * theta))) by (apply Rmult_le_pos; lra). lra. }
  assert (Hlog : E t (relative_sum d h eps (fun _ => 1) zero_vec) <= INR d * Lam).
  { rewrite <- (E_const t (INR d * Lam) Hp). apply E_le; [exact Hp|]. intros w Hw.
    assert (Hb := adam_run_bounded_path _ _ _ _ _ _ _ _ _ _ Hrun Hw). specialize (HD w Hw).
    apply Rle_trans with (1 := log_sum_path d h eps Rg w Hh He zero_vec (fun _ => Rg ^ 2) Hb
      ltac:(intros i Hi; unfold zero_vec; lra)). cbv beta.
    rewrite (sum_ext d (fun i => ln ((eps + Rg ^ 2) / (eps + zero_vec i))) (fun _ => ln (1 + Rg ^ 2 / eps)))
      by (intros; unfold zero_vec; f_equal; field; lra).
    rewrite sum_const, <- Rmult_plus_distr_l. apply Rmult_le_compat_l; [apply pos_INR|].
    apply Rplus_le_compat_l. apply Rmult_le_compat_l; [assert (Hl := ln_lt_2); lra|].
    apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hh | exact HD]. }
  apply (Rmult_le_compat_l C) in Hlog; [|exact HC].
  assert (H' : alpha * (1 - theta) / root * E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
               <= F x0 - Fstar + C * (INR d * Lam)) by lra.
  assert (Hscale : 0 < alpha * (1 - theta)) by (apply Rmult_lt_0_compat; lra).
  apply (Rmult_le_compat_l (root / (alpha * (1 - theta)))) in H'.
  2:{ left. apply Rdiv_lt_0_compat; lra. }
  rewrite <- Rmult_assoc in H'.
  replace (root / (alpha * (1 - theta)) * (alpha * (1 - theta) / root)) with 1 in H' by (field; lra).
  rewrite Rmult_1_l in H'. apply Rle_trans with (1 := H'). right. unfold C. field. lra.
Qed.

(** [theta = 1/2]: the flagship with [R/2] where it has [2R]. *)
Theorem adam_token_half_life_sharp :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  smooth d L F gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (Rg / 2 + L * alpha / 2) * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h))).
Proof.
  intros d h alpha eps Rg L D F gradF Fstar x0 t Hh Ha He HR HL Hsm HF Hrun HD.
  assert (H := adam_token_half_life_theta (1 / 2) d h alpha eps Rg L D F gradF Fstar x0 t
    ltac:(lra) Hh Ha He HR HL Hsm HF Hrun HD).
  apply Rle_trans with (1 := H). right.
  replace (Rg / (4 * (1 / 2))) with (Rg / 2) by field.
  replace (sqrt (eps + Rg ^ 2) / (1 - 1 / 2)) with (2 * sqrt (eps + Rg ^ 2)) by field.
  reflexivity.
Qed.
