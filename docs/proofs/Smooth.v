(** Where the smoothness inequality comes from: a gradient that is [L]-Lipschitz. *)

From Coq Require Import Reals Lra Lia Psatz FunctionalExtensionality.
From BSTheory Require Import FiniteSums OneStep Tree Adam.
Local Open Scope R_scope.

(** [gradF] is the gradient of [F]: it gives the derivative along every straight line. *)
Definition gradient (d : nat) (F : vec -> R) (gradF : vec -> vec) : Prop :=
  forall (x u : vec) (s : R),
  derivable_pt_lim (fun s => F (fun i => x i + s * u i)) s
    (sum d (fun i => gradF (fun i => x i + s * u i) i * u i)).

Definition lipschitz_gradient (d : nat) (L : R) (gradF : vec -> vec) : Prop :=
  forall x y : vec,
  norm_sq d (fun i => gradF y i - gradF x i) <= L ^ 2 * norm_sq d (fun i => y i - x i).

(** Cauchy-Schwarz in the form that is needed. *)
Lemma inner_le_of_norms d (a u : vec) c :
  0 <= c -> norm_sq d a <= c ^ 2 * norm_sq d u ->
  sum d (fun i => a i * u i) <= c * norm_sq d u.
Proof.
  intros [Hc | <-] H; unfold norm_sq in *.
  - apply Rle_trans with (sum d (fun i => / (2 * c) * a i ^ 2 + c / 2 * u i ^ 2)).
    + apply sum_le. intros i _. assert (Hsq := pow2_ge_0 (a i - c * u i)).
      apply (Rmult_le_reg_l (2 * c)); [lra|].
      replace (2 * c * (/ (2 * c) * a i ^ 2 + c / 2 * u i ^ 2))
        with (a i ^ 2 + c ^ 2 * u i ^ 2) by (field; lra).
      lra.
    + rewrite sum_plus, !sum_scal. set (U := sum d (fun i => u i ^ 2)) in *.
      apply Rle_trans with (/ (2 * c) * (c ^ 2 * U) + c / 2 * U).
      * apply Rplus_le_compat_r. apply Rmult_le_compat_l; [|exact H].
        left. apply Rinv_0_lt_compat. lra.
      * right. field. lra.
  - rewrite Rmult_0_l. replace (0 ^ 2 * _) with 0 in H by ring.
    assert (Hz : forall i, (i < d)%nat -> a i ^ 2 = 0).
    { apply (sum_zero_terms d (fun i => a i ^ 2)); [intros; apply pow2_ge_0|].
      assert (0 <= sum d (fun i => a i ^ 2)) by (apply sum_nonneg; intros; apply pow2_ge_0). lra. }
    right. rewrite (sum_ext d _ (fun _ => 0)); [rewrite sum_const; ring|].
    intros i Hi. specialize (Hz i Hi). replace (a i ^ 2) with (a i * a i) in Hz by ring.
    apply Rmult_integral in Hz. destruct Hz as [-> | ->]; ring.
Qed.

(** The descent lemma: an [L]-Lipschitz gradient gives the smoothness inequality. *)
Lemma smooth_of_lipschitz_gradient d L F gradF :
  0 <= L -> gradient d F gradF -> lipschitz_gradient d L gradF -> smooth d L F gradF.
Proof.
  intros HL HF HG x y.
  set (u := fun i => y i - x i).
  set (A := sum d (fun i => gradF x i * u i)). set (U := norm_sq d u).
  set (line := fun s i => x i + s * u i).
  set (psi := fun s => F (line s) - (A * s + L / 2 * U * (s * s))).
  set (dpsi := fun s => sum d (fun i => gradF (line s) i * u i) - (A * 1 + L / 2 * U * (1 * s + s * 1))).
  assert (Hd : forall s, 0 <= s <= 1 -> derivable_pt_lim psi s (dpsi s)).
  { intros s _. unfold psi, dpsi. apply derivable_pt_lim_minus; [apply HF|].
    apply derivable_pt_lim_plus; apply derivable_pt_lim_scal.
    - apply derivable_pt_lim_id.
    - apply (derivable_pt_lim_mult id id); apply derivable_pt_lim_id. }
  destruct (MVT_cor2 psi dpsi 0 1 ltac:(lra) Hd) as (s & Hs & Hs0 & Hs1).
  assert (Hneg : dpsi s <= 0).
  { unfold dpsi.
    assert (H : sum d (fun i => (gradF (line s) i - gradF x i) * u i) <= L * s * U).
    { apply inner_le_of_norms; [apply Rmult_le_pos; lra|].
      apply Rle_trans with (1 := HG x (line s)). right.
      unfold norm_sq, line. rewrite (sum_ext d _ (fun i => s ^ 2 * u i ^ 2)) by (intros; ring).
      rewrite sum_scal. ring. }
    rewrite (sum_ext d _ (fun i => gradF (line s) i * u i - gradF x i * u i)) in H by (intros; ring).
    rewrite sum_minus in H. fold A in H. lra. }
  assert (H01 : psi 1 <= psi 0) by lra.
  unfold psi in H01.
  replace (line 1) with y in H01 by (apply functional_extensionality; intros i; unfold line, u; ring).
  replace (line 0) with x in H01 by (apply functional_extensionality; intros i; unfold line, u; ring).
  unfold A, U, norm_sq, u in H01. lra.
Qed.

(** The flagship with smoothness in its textbook form. *)
Theorem adam_token_half_life_lipschitz :
  forall (d : nat) (h alpha eps Rg L D : R) (F : vec -> R) (gradF : vec -> vec) (Fstar : R)
         (x0 : vec) (t : tree),
  0 < h -> 0 < alpha -> 0 < eps -> 0 <= Rg -> 0 <= L ->
  gradient d F gradF -> lipschitz_gradient d L gradF -> (forall x, Fstar <= F x) ->
  adam_run d alpha h eps Rg gradF x0 zero_vec t ->
  (forall w, path_of t w -> tokens w <= D) ->
  E t (weighted_gradients d alpha h eps gradF x0 zero_vec)
  <= 2 * sqrt (eps + Rg ^ 2)
     * ((F x0 - Fstar) / alpha
        + INR d * (2 * Rg + L * alpha / 2) * (ln (1 + Rg ^ 2 / eps) + ln 2 * (D / h))).
Proof.
  intros. apply adam_token_half_life; try assumption.
  apply smooth_of_lipschitz_gradient; assumption.
Qed.
